"""The built-in hasher: loaded by name, at each of its lengths, with the same bits from numpy and torch."""

import numpy as np
import pytest
from PIL import Image, ImageOps

import transhash
from transhash import models
from transhash.errors import ModelError
from transhash.hashers import default_bits, header, load_hasher, model_ref, rarity_of
from transhash.hashers.numpy_hasher import NumpyHasher
from transhash.hashers.transhash import TransHasher


def photo(seed: int, size: tuple[int, int] = (160, 120)) -> Image.Image:
    """A smooth picture with some texture."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
    fine = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.blend(coarse, Image.fromarray(fine), 0.15)


@pytest.fixture(scope="module")
def torch_hasher():
    return TransHasher.load(models.COPY)


@pytest.mark.slow
def test_numpy_gives_the_bits_of_torch(torch_hasher):
    quick = load_hasher("copy", 1)
    assert isinstance(quick, NumpyHasher)
    batch = np.stack([torch_hasher.preprocess(photo(seed)) for seed in range(6)])
    np.testing.assert_array_equal(quick.encode(batch), torch_hasher.encode(batch))


@pytest.mark.slow
@pytest.mark.parametrize("images", [1, None])
def test_every_length_is_a_prefix(images):
    batch = np.stack([load_hasher("copy", 1).preprocess(photo(seed)) for seed in range(2)])
    whole = load_hasher("copy", images).encode(batch)
    for bits in (64, 128, 256):
        hasher = load_hasher("copy", images, bits=bits)
        assert hasher.ref == model_ref("copy", bits)
        assert (hasher.ref.name, hasher.ref.bits) == ("copy", bits)
        np.testing.assert_array_equal(hasher.encode(batch), whole[:, : bits // 8])
        codes, embeddings = hasher.encode_both(batch)
        assert codes.shape == (2, bits // 8)
        assert embeddings.shape == (2, 768)
        assert hasher.outputs(batch).shape == (2, bits)


def test_an_unavailable_length_is_a_one_line_error():
    for load in (load_hasher, model_ref):
        with pytest.raises(ModelError, match=r"^72 bits: copy makes codes of 64, 128, 256 bits; choose from these$"):
            load("copy", bits=72)
    with pytest.raises(ModelError, match=r"^128 bits: phash makes codes of 64 bits; choose from these$"):
        load_hasher("phash", bits=128)


@pytest.mark.slow
def test_copies_are_nearer_than_other_images():
    photos = [photo(seed) for seed in range(8)]
    edited = [ImageOps.mirror(image) for image in photos]
    codes, queries = transhash.encode(photos), transhash.encode(edited)
    assert codes.model == model_ref("copy", default_bits("copy"))
    nearest = transhash.build_index(codes).kneighbors(queries, 1)[1][:, 0]
    assert nearest.tolist() == list(range(8))


@pytest.mark.slow
def test_codes_of_several_lengths_answer_the_same_queries(tmp_path):
    photos = [photo(seed) for seed in range(3)]
    whole = transhash.encode(photos, bits=256)
    for codes in (transhash.encode(photos, bits=64), transhash.truncate(whole, 64), whole):
        matches = transhash.build_index(codes).search(photos[1], k=1)
        assert (matches[0][0].id, matches[0][0].distance) == (1, 0)


@pytest.mark.slow
def test_a_file_is_extended_at_its_own_length(tmp_path):
    output = tmp_path / "c.h5"
    for number in range(2):
        (tmp_path / "photos").mkdir(exist_ok=True)
        photo(number).save(tmp_path / "photos" / f"{number}.png")
        for model in (None, "copy"):
            summary = transhash.encode_to_file(
                tmp_path / "photos", output, model, append=True, bits=None if number else 64
            )
        assert (summary.rows, summary.bits) == (number + 1, 64)


def test_a_loaded_hasher_has_its_length():
    with pytest.raises(ModelError, match="the length of a loaded hasher is fixed"):
        transhash.encode([photo(0)], load_hasher("phash"), bits=64)


def test_the_card_and_the_rarity_are_in_the_file():
    config = header.read(models.COPY)
    assert config.architecture.lengths == (64, 128, 256)
    assert config.default_bits == 128
    assert {"licence", "base", "data", "recipe", "rarity"} <= config.training.keys()
    assert models.COPY.stat().st_size < 12 << 20
    for bits in (64, 128, 256):
        rarity = rarity_of(model_ref("copy", bits))
        assert rarity.bits == bits
        assert 0 <= rarity.billion < rarity.million < rarity.thousand < bits // 2
    assert rarity_of(model_ref("phash")) is None


def test_saving_again_keeps_both(tmp_path, torch_hasher):
    torch_hasher.save(tmp_path / "again.safetensors", "fp16")
    again = header.read(tmp_path / "again.safetensors")
    assert (again.default_bits, again.rarity) == (128, header.read(models.COPY).rarity)
