import json
import re
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from safetensors.torch import save as serialize
from timm.layers import resample_abs_pos_embed

from transhash.errors import ModelError, OutputError
from transhash.hashers import load_hasher, pretrain, tensor_file
from transhash.hashers.architecture import POOLS, Architecture
from transhash.hashers.smvit import plain_backbone
from transhash.hashers.transhash import Preprocessing, TransHasher, start

TINY = Architecture(bits=16, backbone="test_vit", image_size=32, patch_size=8, stride=6, groups=2)
TRAINING = {"loss": "csq", "lr": 3e-4, "labels": ["Ä", "b"], "nested": {"epochs": 3, "gamma": None}}


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    hasher = start(TINY, class_names=("a", "b"))
    hasher.save(tmp_path / "h.safetensors")
    return hasher, tmp_path / "h.safetensors"


def pictures(count=6):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (50, 70, 3), dtype=np.uint8)) for _ in range(count)]


def batch_of(hasher, images):
    return np.stack([hasher.preprocess(image) for image in images])


@contextmanager
def watched(hasher):
    """Record the inputs and outputs of a network."""
    seen = []
    hook = hasher.net.register_forward_hook(
        lambda _, given, made: seen.append([values.float().cpu().numpy() for values in (given[0], made)])
    )
    yield seen
    hook.remove()


def refusal(path, load=load_hasher):
    """Return the one-line error for a rejected file, which must name the file."""
    with pytest.raises(ModelError) as caught:
        load(path)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    return line


@pytest.mark.parametrize("pool", POOLS)
def test_a_hasher_file_is_self_contained(pool, tmp_path):
    torch.manual_seed(0)
    hasher = start(replace(TINY, pool=pool), class_names=("a", "b"))
    hasher.training = TRAINING
    hasher.save(tmp_path / "h.safetensors")
    loaded = load_hasher(tmp_path / "h.safetensors")
    assert isinstance(loaded, TransHasher)
    assert (loaded.architecture, loaded.preprocessing) == (replace(TINY, pool=pool), hasher.preprocessing)
    assert (loaded.class_names, loaded.training, loaded.ref) == (("a", "b"), TRAINING, hasher.ref)
    batch = batch_of(hasher, pictures())
    np.testing.assert_array_equal(batch_of(loaded, pictures()), batch)
    np.testing.assert_array_equal(loaded.features(batch), hasher.features(batch))
    np.testing.assert_array_equal(loaded.encode(batch), hasher.encode(batch))


@pytest.mark.parametrize(("pool", "width"), [("token", 64), ("mean", 64), ("both", 128)])
def test_embeddings_are_the_features_at_unit_length(pool, width):
    torch.manual_seed(0)
    hasher = start(replace(TINY, pool=pool))
    batch = batch_of(hasher, pictures())
    features, embeddings = hasher.features(batch), hasher.embed(batch)
    assert embeddings.shape == (6, 3 * width)
    assert embeddings.dtype == np.float32
    for vector, unit in zip(features, embeddings, strict=True):
        np.testing.assert_allclose(unit, vector / np.sqrt((vector.astype(float) ** 2).sum()), rtol=1e-5, atol=1e-7)


def test_codes_are_the_signs_of_the_outputs(saved):
    hasher, _ = saved
    with torch.no_grad():
        hasher.net.global_head.weight[3] = 0  # an output of exactly zero gives 0
        hasher.net.global_head.bias[3] = 0
    with watched(hasher) as seen:
        codes = hasher.encode(batch_of(hasher, pictures()))
    ((_, outputs),) = seen
    assert (codes.dtype, codes.shape) == (np.uint8, (6, 2))
    np.testing.assert_array_equal(codes, np.packbits(outputs > 0, axis=1))
    assert not outputs[:, 3].any()
    assert len(np.unique(np.unpackbits(codes, axis=1)[:, 8:])) == 2


def test_a_diverged_hasher_is_a_one_line_error(saved):
    hasher, path = saved
    with torch.no_grad():
        hasher.net.global_head.bias[0] = torch.nan
    batch = batch_of(hasher, pictures(1))
    assert "diverged" in refusal(path, lambda _: hasher.encode(batch))


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
    with watched(hasher) as seen:
        hasher.encode(batch_of(hasher, [wide]))
    (((array,), _),) = seen
    assert array.shape == (3, 32, 32)
    mean, std = np.array(hasher.preprocessing.mean), np.array(hasher.preprocessing.std)
    np.testing.assert_allclose(array[:, 16, 16], (1 - mean) / std, rtol=1e-5)
    assert array.min() > 0


@pytest.mark.parametrize("size", [(1, 1), (1, 20000), (20000, 1)])
@pytest.mark.parametrize("crop", [1.0, 0.5, 1e-12])
def test_preprocessing_of_extreme_shapes_stays_small(saved, size, crop):
    hasher, _ = saved
    hasher.preprocessing = replace(hasher.preprocessing, crop=crop)
    batch = batch_of(hasher, [Image.new("RGB", size)])
    assert batch.size == 3 * 32 * 32
    assert hasher.encode(batch).shape == (1, 2)


def rewrite(path, change_config=lambda config: None, change_tensors=lambda tensors: None, **metadata):
    with safe_open(path, framework="pt") as file:
        found = file.metadata()
    tensors = load_file(path)
    config = json.loads(found["config"])
    change_config(config)
    change_tensors(tensors)
    tensor_file.write(path, serialize(tensors, {**found, "config": json.dumps(config), **metadata}))


def architecture(**values):
    return lambda path: rewrite(path, lambda config: config["architecture"].update(values))


def preprocessing(**values):
    return lambda path: rewrite(path, lambda config: config["preprocessing"].update(values))


def training(value):
    return lambda path: rewrite(path, lambda config: config.update(training=value))


def tensors(change):
    return lambda path: rewrite(path, change_tensors=change)


ATTACKS = {
    "empty": lambda p: p.write_bytes(b""),
    "text": lambda p: p.write_text("no tensors"),
    "truncated": lambda p: p.write_bytes(p.read_bytes()[:5000]),
    "metadata of many gigabytes": lambda p: p.write_bytes((1 << 40).to_bytes(8, "little") + p.read_bytes()[8:]),
    "other safetensors": lambda p: save_file({"x": torch.zeros(1)}, p),
    "future version": lambda p: rewrite(p, version="9"),
    "config no JSON": lambda p: rewrite(p, config="{"),
    "config no object": lambda p: rewrite(p, config="[]"),
    "config too deep": lambda p: rewrite(p, config="[" * 100_000),
    "config incomplete": lambda p: rewrite(p, lambda c: c.pop("preprocessing")),
    "unknown setting": architecture(shell="rm"),
    "bits no number": architecture(bits="16"),
    "bits not a number": architecture(bits=float("nan")),
    "bits not whole": architecture(bits=16.0),
    "remote backbone": architecture(backbone="hf-hub:a/b"),
    "giant backbone": architecture(backbone="vit_giant_patch14_dinov2"),
    "other size": architecture(image_size=1024),
    "other pool": architecture(pool="both"),
    "unknown pool": architecture(pool="max"),
    "pool no text": architecture(pool=["token"]),
    "mean infinite": preprocessing(mean=[float("inf"), 0, 0]),
    "mean not a number": preprocessing(mean=[0, float("nan"), 0]),
    "mean beyond float32": preprocessing(mean=[0, 0, 1e300]),
    "mean beyond any float": preprocessing(mean=[10**400, 0, 0]),
    "mean of two": preprocessing(mean=[0, 0]),
    "std of zero": preprocessing(std=[0, 1, 1]),
    "std that float32 takes for zero": preprocessing(std=[1, 1e-300, 1]),
    "std that makes pixels infinite": preprocessing(std=[1, 1e-38, 1]),
    "std infinite": preprocessing(std=[1, 1, float("inf")]),
    "std not a number": preprocessing(std=[float("nan"), 1, 1]),
    "std negative": preprocessing(std=[-1, 1, 1]),
    "crop of nothing": preprocessing(crop=0),
    "crop not a number": preprocessing(crop=float("nan")),
    "crop of more": preprocessing(crop=1.5),
    "classes a number": lambda p: rewrite(p, lambda c: c.update(class_names=3)),
    "training a number": training(3),
    "training a text": training("csq"),
    "training nothing": training(None),
    "tensor gone": tensors(lambda t: t.pop("global_head.bias")),
    "tensor too many": tensors(lambda t: t.update(extra=torch.zeros(1))),
    "tensor of another shape": tensors(lambda t: t.update({"global_head.bias": torch.zeros(9)})),
}


@pytest.mark.slow
@pytest.mark.parametrize("attack", ATTACKS)
def test_damaged_files_give_one_line(attack, saved):
    _, path = saved
    ATTACKS[attack](path)
    assert "not a hasher, or a damaged one" in refusal(path)


@pytest.mark.slow
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), cut=st.none() | st.floats(0, 1))
def test_damage_anywhere_in_the_header_is_refused_or_harmless(saved, place, flip, cut):
    """With any byte of the header changed or the file truncated, a hasher works or is rejected with one line."""
    hasher, path = saved
    good = path.read_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    bad = bytearray(good[: None if cut is None else int(cut * len(good))])
    where = int(place * header)
    if where < len(bad):
        bad[where] ^= flip
    other = path.with_name("damaged.safetensors")
    other.write_bytes(bad)
    batch = batch_of(hasher, pictures(1))
    try:
        assert load_hasher(other).encode(batch).shape[0] == 1
    except ModelError as error:
        assert str(other) in str(error)
        assert "\n" not in str(error)


def test_files_without_later_fields_have_their_defaults(saved):
    """Files written before --pool use the class token and have no training record."""
    hasher, path = saved
    rewrite(path, lambda config: (config["architecture"].pop("pool"), config.pop("training")))
    loaded = load_hasher(path)
    assert (loaded.architecture, loaded.training) == (TINY, {})
    batch = batch_of(hasher, pictures())
    np.testing.assert_array_equal(loaded.encode(batch), hasher.encode(batch))


def test_widest_preprocessing_that_loads_stays_finite(saved):
    hasher, path = saved
    hasher.preprocessing = Preprocessing((1e3, -1e3, 0.0), (1e-3, 1e3, 1.0), 0.5)
    hasher.save(path)
    loaded = load_hasher(path)
    assert loaded.preprocessing == hasher.preprocessing
    with watched(loaded) as seen:
        loaded.encode(batch_of(loaded, pictures(1)))
    assert np.isfinite(seen[0][0]).all()


def test_values_that_json_cannot_represent_leave_the_old_file(saved):
    hasher, path = saved
    before = path.read_bytes()
    hasher.training = {"seed": object()}
    with pytest.raises(TypeError):
        hasher.save(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_never_replaces_another_kind_of_file(saved, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"a picture")
    save_file({"pretrained": torch.ones(2)}, tmp_path / "weights.safetensors")
    for name in ("cat.jpg", "weights.safetensors"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(OutputError, match="not a hasher"):
            saved[0].save(tmp_path / name)
        assert (tmp_path / name).read_bytes() == before


def checkpoint(**changes):
    """The tensors of a random timm checkpoint for TINY's backbone."""
    torch.manual_seed(1)
    usual = {"backbone": "test_vit", "image_size": 64, "patch_size": 8}
    state = plain_backbone(Architecture(**(usual | changes))).state_dict()
    return {name: weight.contiguous() for name, weight in state.items()}


FORMATS = {
    "as it is": lambda state: state,
    "half precision": lambda state: {name: weight.half() for name, weight in state.items()},
    "with a classifier": lambda state: state | {"head.weight": torch.zeros(9, 64), "head.bias": torch.zeros(9)},
    "inside OpenCLIP": lambda state: {f"visual.trunk.{name}": weight for name, weight in state.items()},
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMATS)
def test_starting_from_a_timm_checkpoint(form, tmp_path):
    """Every tensor is loaded; positions are resampled if the input size or the stride differs."""
    state = checkpoint()
    save_file(FORMATS[form](state), tmp_path / "w.safetensors")
    hasher = start(TINY, weights=tmp_path / "w.safetensors")
    arrived = {name: weight.cpu() for name, weight in hasher.net.state_dict().items()}
    tolerance = {"atol": 1e-3, "rtol": 1e-3} if form == "half precision" else {"atol": 1e-6, "rtol": 0}
    for name, weight in state.items():
        if name.startswith(("blocks.5.", "norm.")):  # the last block, and the norm after it
            inner = name.split(".", 2)[2] if name.startswith("blocks") else name.split(".", 1)[1]
            part = "block" if name.startswith("blocks") else "norm"
            for stream in ("global", "local"):
                torch.testing.assert_close(arrived[f"{stream}_{part}.{inner}"], weight, **tolerance)
        elif name != "pos_embed":
            torch.testing.assert_close(arrived[f"backbone.{name}"], weight, **tolerance)
    own_size = resample_abs_pos_embed(state["pos_embed"], [4, 4], [8, 8], num_prefix_tokens=1)
    overlapping = resample_abs_pos_embed(own_size, [5, 5], [4, 4], num_prefix_tokens=1)
    torch.testing.assert_close(arrived["backbone.pos_embed"], overlapping, **tolerance)


def test_patches_of_another_size_are_resampled(tmp_path):
    """A patch embedding that computes the mean of a patch still does so at another size."""
    state = checkpoint(image_size=64, patch_size=16)
    state["patch_embed.proj.weight"] = torch.full((64, 3, 16, 16), 1 / 256)
    save_file(state, tmp_path / "w.safetensors")
    weight = start(TINY, weights=tmp_path / "w.safetensors").net.backbone.patch_embed.proj.weight.cpu()
    assert weight.shape == (64, 3, 8, 8)
    torch.testing.assert_close(weight.sum(dim=(2, 3)), torch.ones(64, 3), atol=0.02, rtol=0)


def hashed_by(**changes):
    """A hasher like TINY with other settings and random weights."""
    torch.manual_seed(1)
    hasher = start(replace(TINY, **changes))
    for weight in hasher.net.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return hasher


@pytest.mark.slow
def test_starting_from_a_hasher_takes_all_but_its_heads(tmp_path):
    trained = hashed_by(bits=64)
    trained.save(tmp_path / "h.safetensors")
    hasher = start(TINY, weights=tmp_path / "h.safetensors")
    theirs = trained.net.state_dict()
    for name, weight in hasher.net.state_dict().items():
        if "head" not in name:
            assert torch.equal(weight, theirs[name]), name
    pixels = batch_of(hasher, pictures())
    np.testing.assert_array_equal(hasher.embed(pixels), trained.embed(pixels))
    assert hasher.encode(pixels).shape == (6, 2)


def test_starting_from_a_hasher_of_another_size(tmp_path):
    """Positions are resampled, and missing local streams start as copies of the last block."""
    trained = hashed_by(image_size=48, stride=8, groups=0)  # 6 x 6 patches
    trained.save(tmp_path / "h.safetensors")
    net = start(TINY, weights=tmp_path / "h.safetensors").net  # 5 x 5
    theirs = {name: weight.cpu() for name, weight in trained.net.state_dict().items()}
    positions = resample_abs_pos_embed(theirs["backbone.pos_embed"], [5, 5], [6, 6], num_prefix_tokens=1)
    torch.testing.assert_close(net.backbone.pos_embed.detach().cpu(), positions)
    for name, weight in net.state_dict().items():
        if name.startswith("local_block"):
            assert torch.equal(weight.cpu(), theirs[name.replace("local", "global")]), name


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"patch_size": 4, "stride": 4},
            r"backbone.patch_embed.proj.weight is \(64, 3, 4, 4\) there, \(64, 3, 8, 8\) here",
        ),
        ({"depth": 3}, r"backbone.blocks.2.norm1.weight is missing there"),
        ({"backbone": "vit_tiny_patch16_224"}, r"backbone.blocks.5.norm1.weight is missing here"),
    ],
)
def test_hashers_that_cannot_be_started_from(changes, message, tmp_path):
    hashed_by(**changes).save(tmp_path / "h.safetensors")
    assert re.search(message, refusal(tmp_path / "h.safetensors", lambda path: start(TINY, weights=path)))


def test_training_does_not_start_from_damaged_hashers(saved):
    _, path = saved
    path.write_bytes(path.read_bytes()[:-100])
    line = refusal(path, lambda path: start(TINY, weights=path))
    assert line.count(str(path)) == 1


SHAPES = {
    "pos_embed": [
        *[(), (384,), (1, 5), (1, 17), (17, 64), (1, 0, 64), (1, 1, 64), (0, 17, 64), (2, 17, 64), (1, 17, 0)],
        *[(1, 17, 63), (1, 18, 64), (1, 16, 64), (1, 4, 4, 64), (1, 17, 64, 1), (0,), (0, 0, 0), (3, 65, 64)],
    ],
    "patch_embed.proj.weight": [
        *[(), (64,), (64, 3), (64, 3, 8), (64, 3, 0, 8), (63, 3, 8, 8), (0, 3, 8, 8), (64, 4, 9, 9)],
        *[(64, 3, 8, 8, 1), (0,), (64, 3, 8, 0)],
    ],
    "cls_token": [(), (64,), (1, 64), (1, 1, 9), (2, 1, 64), (0,)],
}


@pytest.mark.slow
@pytest.mark.parametrize("tensor", SHAPES)
def test_malformed_tensors_are_named_with_their_file(tensor, tmp_path):
    path = tmp_path / "w.safetensors"
    for shape in SHAPES[tensor]:
        save_file(checkpoint(image_size=32) | {tensor: torch.zeros(shape)}, path)
        line = refusal(path, lambda path: start(TINY, weights=path))
        assert tensor in line, shape
        assert "give a timm checkpoint" in line


@pytest.mark.parametrize(
    "name", ["model", "state_dict", "encoder", "visual.class_embedding", "visual.trunk.pos_embed"]
)
def test_names_that_timm_takes_for_other_formats(name, tmp_path):
    save_file(checkpoint() | {name: torch.zeros(2, 2)}, tmp_path / "w.safetensors")
    refusal(tmp_path / "w.safetensors", lambda path: start(TINY, weights=path))


WRONG = {
    "missing": (lambda p: None, "no weights for this backbone"),
    "folder": (lambda p: p.mkdir(), "no weights for this backbone"),
    "empty": (lambda p: p.write_bytes(b""), "no weights for this backbone"),
    "pickle": (lambda p: torch.save(checkpoint(), p), "no weights for this backbone"),
    "truncated": (lambda p: (save_file(checkpoint(), p), p.write_bytes(p.read_bytes()[:9000])), "no weights for"),
    "no tensors": (lambda p: save_file({}, p), "lacks 78 of the backbone's tensors"),
    "one tensor": (lambda p: save_file({"cls_token": torch.zeros(1, 1, 64)}, p), "lacks 77"),
    "more blocks": (
        lambda p: save_file(checkpoint() | {"blocks.6.norm1.weight": torch.ones(64)}, p),
        r"made for another backbone, it has blocks.6.norm1.weight; choose that one with --backbone",
    ),
    "not a number": (
        lambda p: save_file(checkpoint() | {"cls_token": torch.full((1, 1, 64), float("nan"))}, p),
        "cls_token holds NaN or infinity: the weights are damaged; give others",
    ),
    "infinity in half precision": (
        lambda p: save_file(checkpoint() | {"norm.bias": torch.full((64,), float("-inf")).bfloat16()}, p),
        "norm.bias holds NaN or infinity",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", WRONG)
def test_weights_of_other_backbones_are_rejected(case, tmp_path):
    write, message = WRONG[case]
    write(tmp_path / "w.safetensors")
    assert message in refusal(tmp_path / "w.safetensors", lambda path: start(TINY, weights=path))


def test_a_backbone_that_timm_has_no_weights_for():
    with pytest.raises(ModelError, match=r"timm has no pretrained weights.*--weights FILE"):
        pretrain.download("vit_giant_patch14_224.untrained")
