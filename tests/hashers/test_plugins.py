"""Hashers of other packages, installed on the path and found through entry points."""

import importlib
import sys

import numpy as np
import pytest
from PIL import Image

from transhash.errors import ModelError
from transhash.hashers import load_hasher

GOOD = """
import numpy as np
from transhash.codes import ModelRef

class Brightness:
    ref = ModelRef("brightness", "brightness-1", 8)

    def preprocess(self, image):
        return np.asarray(image.convert("L").resize((4, 2))).ravel() > 127

    def encode(self, batch):
        return np.packbits(batch, axis=1)
"""
BROKEN = {
    "does not import": "import nothing_of_the_kind",
    "raises on import": "raise RuntimeError('two\\nlines')",
    "lacks the class": "",
    "raises when made": "class Brightness:\n    def __init__(self):\n        raise OSError('no\\nlicence')",
    "has no reference": "class Brightness:\n    pass",
    "lacks a method": GOOD.replace("def encode", "def encoding"),
    "has another name": GOOD.replace('"brightness", "br', '"dark", "br'),
    "has odd bits": GOOD.replace('-1", 8', '-1", 9'),
    "is not a class": "Brightness = 3",
}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a package with an entry point on the path."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(code):
        (tmp_path / "brightness_hasher.py").write_text(code)
        metadata = tmp_path / "brightness_hasher-1.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: brightness-hasher\nVersion: 1\n")
        (metadata / "entry_points.txt").write_text("[transhash.hashers]\nbrightness = brightness_hasher:Brightness\n")
        importlib.invalidate_caches()

    yield write
    sys.modules.pop("brightness_hasher", None)


def test_a_hasher_of_another_package(install):
    install(GOOD)
    hasher = load_hasher("brightness")
    batch = np.stack([hasher.preprocess(Image.new("RGB", (9, 9), colour)) for colour in ("black", "white")])
    assert hasher.encode(batch).tolist() == [[0], [255]]
    assert load_hasher("phash").ref.name == "phash"
    with pytest.raises(ModelError, match="brightness: not a network; leave out --bf16"):
        load_hasher("brightness", bf16=True)
    with pytest.raises(ModelError, match="no such hasher; choose brightness, copy, phash, or a file"):
        load_hasher("bright")


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_package_is_a_one_line_error(install, fault):
    install(BROKEN[fault])
    with pytest.raises(ModelError, match=r"^hasher 'brightness' (does not load|cannot be used) ") as caught:
        load_hasher("brightness")
    assert "\n" not in str(caught.value)
    assert load_hasher("phash").ref.name == "phash"


@pytest.mark.parametrize("model", [None, 3, b"phash", ["phash"]])
def test_invalid_hasher_names(model):
    with pytest.raises(TypeError, match="model must be a path"):
        load_hasher(model)
