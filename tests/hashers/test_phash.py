import numpy as np
import pytest
from PIL import Image, ImageFilter

from transhash import hamming
from transhash.errors import ModelError
from transhash.hashers import load_hasher


def scenes():
    rng = np.random.default_rng(0)
    for _ in range(20):
        noise = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        yield noise.resize((300, 240), Image.Resampling.BICUBIC)


def test_near_duplicates_are_near_and_others_are_not():
    hasher = load_hasher("phash")
    originals, copies = [], []
    for scene in scenes():
        originals.append(hasher.preprocess(scene))
        copies.append(hasher.preprocess(scene.resize((150, 120)).filter(ImageFilter.GaussianBlur(1))))
    codes, near = hasher.encode(np.stack(originals)), hasher.encode(np.stack(copies))
    distances = hamming.distances(codes, near)
    assert codes.shape == (20, 8)
    assert distances.diagonal().max() <= 6
    assert distances[~np.eye(20, dtype=bool)].min() >= 12


def test_bits_are_those_of_imagehash():
    import imagehash

    scene = next(scenes())
    hasher = load_hasher("phash")
    code = hasher.encode(hasher.preprocess(scene)[None])[0]
    assert code.tobytes().hex() == str(imagehash.phash(scene))


def test_unknown_hasher(tmp_path):
    with pytest.raises(ModelError, match="phash, or a file"):
        load_hasher(tmp_path / "none.safetensors")
