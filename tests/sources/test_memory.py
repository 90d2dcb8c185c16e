"""Images in memory: arrays, PIL images and paths in one list."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import transhash
from transhash.codes import Codes, ModelRef, Records
from transhash.errors import MismatchError, ModelError, SelectionError, SourceError

PICTURE = np.arange(64 * 64 * 3, dtype=np.uint32).reshape(64, 64, 3).astype(np.uint8)


@pytest.mark.parametrize("make", [list, tuple, iter], ids=["list", "tuple", "iterator"])
def test_a_folder_among_images_is_an_error(make, tmp_path):
    for images in ([tmp_path, Image.fromarray(PICTURE)], [PICTURE, f"{tmp_path}/"]):
        with pytest.raises(SourceError, match=r"image [01] is a folder, '/.*'; .* pass a folder on its own"):
            transhash.encode(make(images), "phash")


def test_a_file_among_images_in_memory(tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    codes = transhash.encode([PICTURE, tmp_path / "a.png", "nowhere.png", "a\0b"], "phash")
    assert len(codes) == 2
    assert (codes.packed[0] == codes.packed[1]).all()
    assert [path for path, _ in codes.skipped] == [b"nowhere.png", b"a\0b"]


def test_channels_first_is_refused_for_one_picture():
    with pytest.raises(SourceError, match=r"array \(3, 64, 64\) uint8: transpose a picture to \(H, W, 3\)"):
        transhash.encode(PICTURE.transpose(2, 0, 1), "phash")
    one, batch, grey = (
        transhash.encode(array, "phash")
        for array in (PICTURE, PICTURE.transpose(2, 0, 1)[None], np.stack([PICTURE[..., 0]] * 4))
    )
    assert (len(one), len(batch), len(grey)) == (1, 1, 4)
    assert (one.packed == batch.packed).all()


def test_a_grey_query_is_passed_in_a_list():
    index = transhash.build_index(transhash.encode([PICTURE[..., 0]], "phash"))
    with pytest.raises(
        MismatchError, match=r"\(64, 64\) is not packed codes .* \(q, 8\); pass a grey image as \[array\]"
    ):
        index.search(PICTURE[..., 0])
    assert index.search([PICTURE[..., 0]], k=1)[0][0].distance == 0
    codes = Codes(np.zeros((1, 8), np.uint8), Records([b"a"]), ModelRef("phash", index.model.digest, 64))
    assert len(index.search(codes.packed, k=1)) == 1


BITS = np.arange(128).reshape(2, 64) % 3 == 0


@pytest.mark.parametrize(
    ("queries", "remedy"),
    [
        *((BITS.astype(dtype), "np.packbits(queries > 0, axis=1)") for dtype in (bool, np.uint8, np.int64, float)),
        (np.where(BITS, 0.7, -1.2), "np.packbits(queries > 0, axis=1)"),
        (BITS[0], "np.packbits(queries > 0)[None]"),
        (np.zeros(8, np.uint8), "queries[None]"),
        (np.zeros((2, 8), np.int64), "queries.astype(np.uint8)"),
        (np.full((2, 64), np.nan), "encode images with the same model: transhash.encode"),
        (np.zeros((2, 8), np.float32), "encode images with the same model: transhash.encode"),
        (np.array(7), "encode images with the same model: transhash.encode"),
    ],
)
def test_queries_that_are_not_packed_codes_get_a_remedy(queries, remedy):
    index = transhash.build_index(transhash.encode([PICTURE], "phash"))
    with pytest.raises(MismatchError, match=r"the index takes uint8 of shape \(q, 8\); ") as refused:
        index.search(queries)
    assert str(refused.value).endswith(remedy)


@pytest.mark.parametrize("queries", [np.zeros((1, 8, 3), np.uint8), [np.zeros(8, np.uint8)] * 2, bytes(8)])
def test_what_is_taken_for_images_is_said_if_there_is_no_hasher(queries):
    codes = Codes(np.zeros((1, 8), np.uint8), Records([b"a"]), ModelRef("nowhere", "d", 64))
    with pytest.raises(ModelError, match=r"taken for images; packed codes are one array \(q, 8\) uint8"):
        transhash.build_index(codes).search(queries)


def test_images_in_memory_are_named_by_hand():
    codes = transhash.encode([PICTURE], "phash")
    index = transhash.build_index(codes)
    with pytest.raises(SelectionError, match=r"0 is in the index already; pass --replace \(replace=True\)"):
        index.add(codes)
    index.add(replace(codes, records=Records([b"second"])))
    matches = index.search([PICTURE, "nowhere.png"], k=2)
    assert [match.path for match in matches[0]] == ["0", "second"]
    assert (list(matches.queries), len(matches)) == (["0"], 1)
    assert [path for path, _ in matches.skipped] == ["nowhere.png"]
    cluster = transhash.dedup(index, radius=0)[0]
    assert (cluster.kept, set(cluster.roles)) == (None, {"missing"})
    assert codes.bits == 64


def test_an_index_of_files_does_not_sync_with_positions(tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    numbered, files = transhash.encode([PICTURE], "phash"), transhash.encode(tmp_path, "phash")
    index = transhash.build_index(files, tmp_path / "index")
    with pytest.raises(MismatchError, match=r"images in memory, named by position, .* remove every row"):
        index.sync(numbered)
    assert index.path(0) == str(tmp_path / "a.png")
    index.add(numbered)
    assert index.sync(numbered).removed == 1
    named = replace(numbered, records=Records([b"first"]))
    assert (index.sync(named).added, index.sync(files).added) == (1, 1)
