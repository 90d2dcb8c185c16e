"""Hashers exported to ONNX: ONNX Runtime computes the same codes as torch and numpy."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

import transhash
from tests.conftest import REPOSITORY
from transhash.errors import ModelError, OutputError
from transhash.hashers.architecture import Architecture
from transhash.hashers.numpy_hasher import NumpyHasher
from transhash.hashers.transhash import TransHasher, start
from transhash.models import COPY

pytestmark = pytest.mark.slow

TINY = Architecture(
    bits=64, backbone="test_vit", image_size=32, patch_size=8, stride=6, groups=2, depth=2, nested=(32,)
)


def run(path, images):
    (codes,) = onnxruntime.InferenceSession(path).run(["codes"], {"images": images})
    return codes


def test_codes_equal_those_of_torch_at_any_batch_size(tmp_path):
    torch.manual_seed(0)
    hasher = start(replace(TINY, pool="both", mirror=True))
    hasher.save(tmp_path / "h.safetensors")
    path = transhash.export_hasher(tmp_path / "h.safetensors", tmp_path / "h.onnx", bits=32)
    images = np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3), dtype=np.uint8)
    expected = hasher.encode(images)[:, :4]
    for count in (1, 2, 50):
        codes = run(path, images[:count])
        assert codes.dtype == np.uint8
        np.testing.assert_array_equal(codes, expected[:count])


def test_the_built_in_hasher_gives_the_same_bits_in_numpy_torch_and_onnx(th, tmp_path, monkeypatch, photos):
    th("export", "copy", "-o", tmp_path / "copy.onnx", "--bits", 128)
    numpy, full = NumpyHasher.load(COPY), TransHasher.load(COPY)
    images = np.stack([full.preprocess(photo) for photo in photos])
    codes = run(tmp_path / "copy.onnx", images)
    np.testing.assert_array_equal(codes, full.encode(images)[:, :16])
    np.testing.assert_array_equal(codes, numpy.encode(images)[:, :16])
    encoded = transhash.encode(photos, transhash.load_hasher("copy", bits=128))
    np.testing.assert_array_equal(codes, encoded.packed)
    stored = {one.key: one.value for one in onnx.load(tmp_path / "copy.onnx").metadata_props}
    assert stored["transhash.model"] == "copy"
    assert stored["transhash.bits"] == "128"
    assert stored["transhash.digest"] == encoded.model.digest
    prepared = {"size": 112, "fit": "squash", "crop": 1.0, "resample": "bicubic"}
    assert json.loads(stored["transhash.preprocessing"]) == prepared
    monkeypatch.chdir(tmp_path)
    check_the_documented_lines(photos[0], transhash.load_hasher("copy", bits=128))


@pytest.fixture
def photos():
    from sklearn.datasets import load_sample_images

    whole = [Image.fromarray(image) for image in load_sample_images().images]
    return [
        photo.crop((left, top, left + 240, top + 180)) for photo in whole for left in (0, 200) for top in (0, 200)
    ]


def test_a_hasher_of_the_central_square(tmp_path, monkeypatch, photos):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    hasher = start(replace(TINY, groups=0, nested=()))
    hasher.preprocessing = replace(hasher.preprocessing, crop=224 / 256)
    hasher.save("h.safetensors")
    path = transhash.export_hasher("h.safetensors", "copy.onnx")
    for number, photo in enumerate(photos):
        check_the_documented_lines(photo.crop((0, 0, 240 - 7 * number, 180)), "h.safetensors")
    stored = {one.key: one.value for one in onnx.load(path).metadata_props}
    assert stored["transhash.model"] == "h.safetensors"
    prepared = {"size": 32, "fit": "crop", "crop": 0.875, "resample": "bicubic"}
    assert json.loads(stored["transhash.preprocessing"]) == prepared
    content = path.read_bytes()
    for private in (tmp_path, REPOSITORY, sys.prefix, Path(torch.__file__).parent):
        assert str(private).encode() not in content


def check_the_documented_lines(photo, model):
    """Check that they give equal bits from copy.onnx, which is in the working directory."""
    page = (REPOSITORY / "docs" / "hasher.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"```python\n(import json\n.*?)```", page, re.DOTALL)
    photo.save("cat.jpg")
    scope: dict[str, Any] = {}
    exec(lines, scope)
    np.testing.assert_array_equal(scope["codes"], transhash.encode("cat.jpg", model).packed)


def test_other_files_are_not_replaced(tmp_path):
    start(TINY).save(tmp_path / "h.safetensors")
    (tmp_path / "notes.onnx").write_text("notes")
    with pytest.raises(OutputError, match=r"notes\.onnx: exists and is not a hasher exported to ONNX"):
        transhash.export_hasher(tmp_path / "h.safetensors", tmp_path / "notes.onnx")
    with pytest.raises(OutputError, match=r"must end in \.onnx"):
        transhash.export_hasher(tmp_path / "h.safetensors", tmp_path / "h.bin")
    with pytest.raises(ModelError, match="phash: not a network"):
        transhash.export_hasher("phash", tmp_path / "h.onnx")
    with pytest.raises(ModelError, match="16"):
        transhash.export_hasher(tmp_path / "h.safetensors", tmp_path / "h.onnx", bits=16)
    assert sorted(path.name for path in Path(tmp_path).iterdir()) == ["h.safetensors", "notes.onnx"]
