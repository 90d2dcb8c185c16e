"""Weights in fewer bytes: their error, equal results of both loaders, and damaged files."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save

import transhash
from transhash.errors import ModelError, OutputError
from transhash.hashers import tensor_file, weight_types
from transhash.hashers.architecture import Architecture
from transhash.hashers.header import HasherConfig, Preprocessing, parse
from transhash.hashers.numpy_hasher import NumpyHasher
from transhash.hashers.transhash import TransHasher, start

TINY = Architecture(bits=64, backbone="test_vit", image_size=32, patch_size=8, stride=8, groups=2, nested=(32,))


@pytest.mark.slow
@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=2, max_dims=4, max_side=6),
        elements=st.floats(-(2.0**99), 2.0**99, width=32),
    )
)
def test_int8_is_off_by_half_a_scale(weight):
    multiples, scale = weight_types.quantize(weight)
    assert multiples.dtype == np.int8
    assert multiples.shape == weight.shape
    assert scale.shape == weight.shape[:1]
    spread = scale.astype(np.float64).reshape(-1, *[1] * (weight.ndim - 1))
    off = np.abs(multiples * spread - weight)
    assert (off <= spread * 0.501).all()


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    start(TINY).save(tmp_path / "h.safetensors")
    return tmp_path / "h.safetensors"


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["int8", "fp16"])
def test_numpy_and_torch_encode_equally(saved, tmp_path, weights):
    small = transhash.shrink_hasher(saved, tmp_path / "small.safetensors", weights)
    assert small.stat().st_size < saved.stat().st_size * (0.6 if weights == "fp16" else 0.4)
    light, full, before = NumpyHasher.load(small), TransHasher.load(small), TransHasher.load(saved)
    assert light.ref == full.ref != before.ref
    for name, weight in full.net.state_dict().items():
        assert weight.dtype == torch.float32
        np.testing.assert_array_equal(weight.numpy(), light._net.weights[name], err_msg=name)
    batch = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    codes = full.encode(batch)
    assert np.unpackbits(light.encode(batch) ^ codes).sum() <= 1  # of 3,200 bits: an output may be close to zero
    assert np.unpackbits(before.encode(batch) ^ codes).mean() < 0.05


@pytest.mark.slow
def test_shrinking_again_changes_nothing(saved, tmp_path):
    first = transhash.shrink_hasher(saved, tmp_path / "a.safetensors")
    whole = transhash.shrink_hasher(first, tmp_path / "b.safetensors", "fp32")
    one, two = TransHasher.load(first).net.state_dict(), TransHasher.load(whole).net.state_dict()
    for name, weight in one.items():
        assert torch.equal(weight, two[name])


@pytest.mark.slow
def test_a_run_starts_from_int8(saved, tmp_path):
    small = transhash.shrink_hasher(saved, tmp_path / "small.safetensors")
    hasher = start(TINY, weights=small)
    assert torch.equal(
        hasher.net.global_block.mlp.fc1.weight, TransHasher.load(small).net.global_block.mlp.fc1.weight
    )


def _break(change, path):
    """Write an int8 hasher with changed tensors and a valid checksum."""
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors)
    tensor_file.write(path, save(tensors, metadata))


NAME = "global_block.mlp.fc1.weight"


def _put(name, value):
    return lambda tensors: tensors.update({name: value(tensors[name])})


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: tensors.pop(NAME + ".scale"),
        lambda tensors: tensors.pop(NAME),
        lambda tensors: tensors.update({"more.scale": np.ones(3, np.float32)}),
        lambda tensors: tensors.update(
            {"cls.weight": np.ones((2, 2), np.int8), "cls.weight.scale": np.ones(2, np.float32)}
        ),
        _put(NAME + ".scale", lambda scale: scale[:-1]),
        _put(NAME + ".scale", lambda scale: scale[:, None]),
        _put(NAME + ".scale", lambda scale: scale.astype(np.float64)),
        _put(NAME + ".scale", lambda scale: scale * np.float32("nan")),
        _put(NAME + ".scale", lambda scale: scale * np.float32("inf")),
        _put(NAME + ".scale", lambda scale: -scale),
        _put(NAME + ".scale", lambda scale: scale * 0),
        _put(NAME, lambda weight: weight.T.copy()),
        _put("global_head.bias", lambda bias: np.array(1, np.int8)),
    ],
)
def test_damaged_files_are_refused(saved, tmp_path, change):
    small = transhash.shrink_hasher(saved, tmp_path / "small.safetensors")
    _break(change, small)
    with pytest.raises(ModelError, match="not a hasher, or a damaged one"):
        TransHasher.load(small)
    with pytest.raises(ModelError):
        found = NumpyHasher.load(small)
        found.encode(np.zeros((1, 32, 32, 3), np.uint8))


def test_shrink_rejects_other_files(saved, tmp_path):
    hasher = TransHasher.load(saved)
    with pytest.raises(ModelError, match="choose one of fp32, fp16, int8"):
        hasher.save(tmp_path / "a.safetensors", "int4")
    with torch.no_grad():
        hasher.net.global_head.weight[0, 0] = 1e6
    with pytest.raises(ModelError, match="too large for fp16"):
        hasher.save(tmp_path / "a.safetensors", "fp16")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError):
        transhash.shrink_hasher(saved, tmp_path / "notes.txt")
    with pytest.raises(ModelError):
        transhash.shrink_hasher(tmp_path / "notes.txt", tmp_path / "a.safetensors")
    with pytest.raises(TypeError):
        transhash.shrink_hasher(saved, None)
    assert not (tmp_path / "a.safetensors").exists()


def test_shrink_on_the_command_line(th, saved, tmp_path):
    done = th("shrink", saved, "-o", tmp_path / "small.safetensors")
    assert "weights as int8" in done.stderr
    done = th("shrink", tmp_path / "small.safetensors", "-o", tmp_path / "small.txt", "--weights", "fp8", code=2)
    assert "fp8" in done.stderr


@settings(max_examples=20, deadline=None)
@given(width=st.integers(1, 90), height=st.integers(1, 90))
def test_squash_sees_the_whole_image(width, height):
    image = Image.effect_noise((width, height), 50).convert("RGB")
    found = Preprocessing((0.5,) * 3, (0.5,) * 3, fit="squash").square(image, 16)
    np.testing.assert_array_equal(found, np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC)))


def test_fit_is_in_the_file_only_if_it_is_not_the_default():
    for fit in ("crop", "squash"):
        preprocessing = Preprocessing((0.5,) * 3, (0.5,) * 3, fit=fit)
        metadata = HasherConfig(TINY, preprocessing).metadata()
        assert ("fit" in json.loads(metadata["config"])["preprocessing"]) == (fit == "squash")
        assert parse(metadata).preprocessing == preprocessing
