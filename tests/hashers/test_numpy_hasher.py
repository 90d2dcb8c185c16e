"""The numpy network computes the same codes as the torch network."""

import subprocess
import sys
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save as serialize

from transhash.errors import ModelError
from transhash.hashers import load_hasher, tensor_file
from transhash.hashers.architecture import Architecture
from transhash.hashers.numpy_hasher import NumpyHasher
from transhash.hashers.numpy_net import NumpyViT
from transhash.hashers.precision import has_bf16
from transhash.hashers.smvit import layout, network, plain_backbone
from transhash.hashers.transhash import TransHasher, start

TINY = Architecture(bits=16, backbone="test_vit", image_size=32, patch_size=8, stride=6, groups=2, depth=3)


def nets():
    """Networks with various streams, pools, registers, layer scales, and no position for the class token."""
    yield network(plain_backbone(TINY), TINY)
    for pool in ("mean", "both"):
        yield network(plain_backbone(TINY), Architecture(24, "test_vit", 32, 8, 8, 3, pool))
    sizes = {"img_size": 28, "embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": 0}
    for name in ("vit_small_patch14_reg4_dinov2", "vit_small_patch14_dinov2", "deit3_small_patch16_224"):
        backbone = timm.create_model(name, pretrained=False, **sizes)
        yield network(backbone, Architecture(16, name, 28, None, 10, 2))
    yield network(plain_backbone(TINY), replace(TINY, mirror=True))


@pytest.mark.slow
@pytest.mark.parametrize("place", range(7))
def test_outputs_are_those_of_torch(place):
    torch.manual_seed(place)
    net = next(islice(nets(), place, None)).eval()
    for parameter in net.parameters():  # so that no scale, bias or register is 0 or 1
        torch.nn.init.normal_(parameter, std=0.3)
    images = torch.randn(3, 3, 28, 28) if 3 <= place < 6 else torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        expected = net(images).numpy()
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    found = NumpyViT(weights, layout(net), net.groups, net.pool, net.mirror)(images.numpy())
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-4)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    start(TINY).save(tmp_path / "h.safetensors")
    return tmp_path / "h.safetensors"


@pytest.mark.slow
def test_codes_are_those_of_torch(saved):
    light, full = load_hasher(saved, expected_images=1), TransHasher.load(saved)
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)) for _ in range(200)]
    batch = np.stack([light.preprocess(picture) for picture in pictures])
    np.testing.assert_array_equal(batch, np.stack([full.preprocess(picture) for picture in pictures]))
    differing = np.unpackbits(light.encode(batch) ^ full.encode(batch)).sum()
    assert differing <= 1  # of 3,200 bits: an output may be close to zero
    assert light.ref == full.ref


@pytest.mark.parametrize("load", [NumpyHasher.load, TransHasher.load])
def test_an_image_and_its_mirror_image_have_one_code(tmp_path, load):
    torch.manual_seed(0)
    start(replace(TINY, mirror=True)).save(tmp_path / "h.safetensors")
    hasher = load(tmp_path / "h.safetensors")
    batch = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    mirrored = np.ascontiguousarray(batch[:, :, ::-1])
    np.testing.assert_array_equal(hasher.encode(mirrored), hasher.encode(batch))
    for one, other in zip(hasher.encode_both(mirrored), hasher.encode_both(batch), strict=True):
        np.testing.assert_array_equal(one, other)


def test_outputs_and_embeddings_are_those_of_torch(saved):
    light, full = load_hasher(saved, expected_images=1), TransHasher.load(saved)
    batch = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(light.outputs(batch), full.outputs(batch), atol=1e-4)
    for one, other in zip(light.encode_both(batch), full.encode_both(batch), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
    vectors = light.encode_both(batch)[1].astype(np.float32)
    np.testing.assert_allclose(vectors, full.embed(batch), atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)


@pytest.mark.slow
def test_few_images_do_not_load_torch(saved):
    program = (
        "import sys; from transhash.hashers import load_hasher; import numpy as np\n"
        f"load_hasher({str(saved)!r}, expected_images=1).encode(np.zeros((1, 32, 32, 3), np.uint8))\n"
        "assert not {'torch', 'timm'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert isinstance(load_hasher(saved, expected_images=1000), TransHasher)


def test_networks_that_only_torch_runs(tmp_path):
    backbone = plain_backbone(TINY)
    for block in backbone.blocks:
        block.mlp.act = torch.nn.ReLU()
    net = network(backbone, TINY)
    assert layout(net) is None
    hasher = start(TINY)
    TransHasher(net, TINY, hasher.preprocessing).save(tmp_path / "h.safetensors")
    assert NumpyHasher.load(tmp_path / "h.safetensors") is None


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.pop("global_head.weight"),
        lambda w: w.update({"backbone.pos_embed": torch.zeros(1, 1, 64)}),
        lambda w: w.update({"backbone.pos_embed": torch.zeros(1, 5000, 64)}),
        lambda w: w.update({"backbone.pos_embed": torch.zeros(64)}),
        lambda w: w.update({"backbone.cls_token": torch.zeros(3)}),
        lambda w: w.update({"global_head.weight": torch.zeros(3, 64)}),
        lambda w: w.update({"backbone.blocks.0.attn.qkv.weight": torch.zeros(100, 64)}),
        lambda w: w.update({"backbone.patch_embed.proj.weight": torch.zeros(64, 3, 64, 64)}),
        lambda w: w.update({"backbone.patch_embed.proj.weight": torch.zeros(64)}),
        lambda w: w.update({"backbone.blocks.x.norm1.weight": torch.zeros(64)}),
        lambda w: w.update({"fc_norm.weight": torch.zeros(64)}),
        lambda w: w.update({"global_head.bias": torch.full((8,), float("nan"))}),
    ],
)
def test_an_untrusted_file(saved, tmp_path, change):
    weights = load_file(saved)
    change(weights)
    with safe_open(saved, framework="pt") as file:
        tensor_file.write(tmp_path / "odd.safetensors", serialize(weights, file.metadata()))
    with pytest.raises(ModelError) as caught:
        load_hasher(tmp_path / "odd.safetensors", expected_images=1).encode(np.zeros((1, 32, 32, 3), np.uint8))
    assert "\n" not in str(caught.value)


def test_bfloat16_is_optional_and_recorded(saved):
    if not has_bf16():
        with pytest.raises(ModelError, match="leave out --bf16"):
            load_hasher(saved, bf16=True)
        return
    half, full = load_hasher(saved, expected_images=1, bf16=True), load_hasher(saved)
    assert isinstance(half, TransHasher)
    batch = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(half.outputs(batch), full.outputs(batch), atol=0.05)
    assert (half.outputs(batch) != full.outputs(batch)).any()
    assert "bf16" in half.ref.preprocessing
    assert "bf16" not in full.ref.preprocessing
