import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from transhash.errors import ModelError
from transhash.hashers import load_hasher, pretrain
from transhash.hashers.architecture import Architecture
from transhash.hashers.smvit import plain_backbone
from transhash.hashers.transhash import TransHasher, start

TINY = Architecture(bits=16, backbone="test_vit", image_size=32, patch_size=8, stride=6, groups=2)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    hasher = start(TINY, class_names=("a", "b"))
    hasher.save(tmp_path / "h.safetensors")
    return hasher, tmp_path / "h.safetensors"


def pictures(count=6):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)) for _ in range(count)]


def test_a_file_is_all_it_takes(saved):
    hasher, path = saved
    loaded = load_hasher(path)
    assert isinstance(loaded, TransHasher)
    assert (loaded.architecture, loaded.preprocessing) == (TINY, hasher.preprocessing)
    assert (loaded.class_names, loaded.ref) == (("a", "b"), hasher.ref)
    batch = np.stack([hasher.preprocess(picture) for picture in pictures()])
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(loaded.encode(batch), hasher.encode(batch))
    assert hasher.encode(batch).shape == (6, 2)
    embeddings = loaded.embed(batch)
    assert embeddings.shape == (6, 3 * 64)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, rtol=1e-5)


def test_digest_follows_the_weights(saved, tmp_path):
    hasher, _ = saved
    before = hasher.ref.digest
    with torch.no_grad():
        hasher.net.global_head.bias[0] += 1
    hasher.save(tmp_path / "other.safetensors")
    assert hasher.ref.digest != before


def test_preprocessing_is_a_centred_normalised_square(saved):
    hasher, _ = saved
    wide = Image.new("RGB", (90, 30), "black")
    wide.paste("white", (30, 0, 60, 30))
    array = hasher.preprocess(wide)
    assert array.shape == (3, 32, 32)
    mean, std = np.array(hasher.preprocessing.mean), np.array(hasher.preprocessing.std)
    np.testing.assert_allclose(array[:, 16, 16], (1 - mean) / std, rtol=1e-5)
    assert array.min() > 0


@pytest.mark.parametrize("size", [(1, 1), (1, 20000), (20000, 1)])
def test_preprocessing_of_extreme_shapes_stays_small(saved, size):
    assert saved[0].preprocess(Image.new("RGB", size)).shape == (3, 32, 32)


def rewrite(path, change_metadata=lambda config: None, change_tensors=lambda tensors: None, **metadata):
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        found = file.metadata()
    tensors = load_file(path)
    config = json.loads(found["config"])
    change_metadata(config)
    change_tensors(tensors)
    save_file(tensors, path, {**found, "config": json.dumps(config), **metadata})


ATTACKS = {
    "text": lambda p: p.write_text("no tensors"),
    "truncated": lambda p: p.write_bytes(p.read_bytes()[:5000]),
    "other safetensors": lambda p: save_file({"x": torch.zeros(1)}, p),
    "future version": lambda p: rewrite(p, version="9"),
    "config no JSON": lambda p: rewrite(p, config="{"),
    "unknown setting": lambda p: rewrite(p, lambda c: c["architecture"].update(shell="rm")),
    "bits no number": lambda p: rewrite(p, lambda c: c["architecture"].update(bits="16")),
    "remote backbone": lambda p: rewrite(p, lambda c: c["architecture"].update(backbone="hf-hub:a/b")),
    "giant backbone": lambda p: rewrite(p, lambda c: c["architecture"].update(backbone="vit_giant_patch14_dinov2")),
    "other size": lambda p: rewrite(p, lambda c: c["architecture"].update(image_size=1024)),
    "std of zero": lambda p: rewrite(p, lambda c: c["preprocessing"].update(std=[0, 1, 1])),
    "tensor gone": lambda p: rewrite(p, change_tensors=lambda t: t.pop("global_head.bias")),
    "tensor too many": lambda p: rewrite(p, change_tensors=lambda t: t.update(extra=torch.zeros(1))),
    "tensor of another shape": lambda p: rewrite(
        p, change_tensors=lambda t: t.update({"global_head.bias": torch.zeros(9)})
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_damaged_files_give_one_line(attack, saved):
    _, path = saved
    ATTACKS[attack](path)
    with pytest.raises(ModelError) as caught:
        load_hasher(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_never_replaces_another_kind_of_file(saved, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"a picture")
    save_file({"pretrained": torch.ones(2)}, tmp_path / "weights.safetensors")
    for name in ("cat.jpg", "weights.safetensors"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(ModelError, match="not a hasher"):
            saved[0].save(tmp_path / name)
        assert (tmp_path / name).read_bytes() == before


def test_starting_from_a_timm_checkpoint(tmp_path):
    """Every tensor of the file arrives; positions are resampled when the input size differs."""
    torch.manual_seed(1)
    source = plain_backbone(Architecture(backbone="test_vit", image_size=64, patch_size=8))
    state = {name: weight.half() for name, weight in source.state_dict().items()}
    save_file(state, tmp_path / "w.safetensors")
    hasher = start(TINY, weights=tmp_path / "w.safetensors")
    arrived = hasher.net.state_dict()
    torch.testing.assert_close(arrived["backbone.patch_embed.proj.weight"], state["patch_embed.proj.weight"].float())
    torch.testing.assert_close(arrived["backbone.cls_token"], state["cls_token"].float())
    last = len(source.blocks) - 1
    for stream in ("global_block", "local_block"):
        torch.testing.assert_close(
            arrived[f"{stream}.attn.qkv.weight"], state[f"blocks.{last}.attn.qkv.weight"].float()
        )
    assert arrived["backbone.pos_embed"].shape == (1, 1 + 25, 64)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"cls_token": torch.zeros(1, 1, 9)}, "no weights for this backbone"),
        ({"cls_token": torch.zeros(1, 1, 64)}, "lacks"),
    ],
)
def test_weights_that_do_not_fit(tensors, message, tmp_path):
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=message):
        start(TINY, weights=tmp_path / "w.safetensors")


def test_a_backbone_that_timm_has_no_weights_for():
    with pytest.raises(ModelError, match=r"timm has no pretrained weights.*--weights FILE"):
        pretrain.download("vit_giant_patch14_224.untrained")
