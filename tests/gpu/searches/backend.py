"""The backend ``triton`` keeps the contract."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from transhash import backends, testing
from transhash.codes import Codes, ModelRef, Records, StringTable, write_codes
from transhash.errors import BackendError
from transhash.gpu import backend as module
from transhash.gpu.backend import TritonIndex
from transhash.index.index import Index
from transhash.testing import BackendContract


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """The interpreter is slow, and the tests of `DeviceCodes` try all widths."""
    monkeypatch.setattr(testing, "_collections", small_collections)


def small_collections():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (40, 3), dtype=np.uint8)
    yield codes, np.concatenate([codes[:1], rng.integers(0, 256, (1, 3), dtype=np.uint8)])


class TestFlat(BackendContract):
    backend = TritonIndex
    refuses = {"mmap"}


class TestIvf(BackendContract):
    backend = TritonIndex
    type = "ivf"
    params = {"nlist": 3}
    search_params = {"nprobe": 1 << 20}
    refuses = {"mmap"}


def test_is_found_by_its_name():
    assert backends.load("triton") is TritonIndex


def test_lists_gather_what_is_alike():
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 256, (5, 8), dtype=np.uint8)
    labels = rng.integers(0, 5, 500)
    codes = centres[labels] ^ np.packbits(rng.random((500, 64)) < 0.05, axis=1)
    inverted = module._inverted_lists(codes, {"nlist": 5})
    again = module._inverted_lists(codes, {"nlist": 5})
    np.testing.assert_array_equal(inverted.lists, again.lists)
    assert len(set(zip(labels.tolist(), inverted.lists.tolist(), strict=True))) <= 7
    assert inverted.nprobe == 5  # all, as there are fewer than 8


@pytest.mark.parametrize(
    "change",
    [
        {"codes": np.zeros((4, 2), np.int8)},
        {"codes": np.zeros((4, 0), np.uint8)},
        {"codes": np.zeros((4, 129), np.uint8)},
        {"lists": np.array([0, 1, 2, 3], np.int32)},
        {"lists": np.array([0, 1, -1, 0], np.int32)},
        {"lists": np.array([0, 1, 0], np.int32)},
        {"centroids": np.zeros((3, 1), np.uint8)},
        {"centroids": np.zeros((0, 2), np.uint8)},
        {"nprobe": np.array([4])},
        {"nprobe": np.array([0])},
        {"more": np.array([0])},
    ],
)
def test_a_strangers_file_is_refused(change, tmp_path):
    whole = {
        "codes": np.zeros((4, 2), np.uint8),
        "centroids": np.zeros((3, 2), np.uint8),
        "lists": np.array([0, 1, 2, 0], np.int32),
        "nprobe": np.array([2]),
    }
    save_file(whole, tmp_path / "codes.safetensors")
    assert len(TritonIndex.load(tmp_path)) == 4
    save_file(whole | change, tmp_path / "codes.safetensors")
    with pytest.raises(BackendError, match="build the index again"):
        TritonIndex.load(tmp_path)


def test_a_filter_is_filled_from_further_lists():
    codes = np.array([[0, 0], [0, 1], [255, 255], [255, 254], [255, 252]], np.uint8)
    index = TritonIndex(codes, module.InvertedLists(codes[[0, 2]], np.array([0, 0, 1, 1, 1], np.int32), 1))
    allowed = np.array([False, True, True, False, True])
    assert index.search(codes[:1], 2).ids.tolist() == [[0, 1]]
    assert index.search(codes[:1], 3).ids.tolist() == [[0, 1, 4]]
    assert index.search(codes[:1], 3, None, allowed).ids.tolist() == [[1, 4, 2]]


@pytest.mark.parametrize(("name", "kind"), [("exact", None), ("faiss", "ivf")])
def test_takes_over_an_index_of_another_backend(name, kind):
    rng = np.random.default_rng(0)
    codes, queries = (rng.integers(0, 8, (count, 2), dtype=np.uint8) for count in (80, 2))
    theirs = backends.load(name).build(codes, type=kind, params={"nlist": 4, "nprobe": 2} if kind == "ivf" else {})
    ours = TritonIndex.of(theirs)
    for allowed in (None, np.arange(80) % 3 == 0):
        found, expected = (index.search(queries, 9, {}, allowed) for index in (ours, theirs))
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.distances, expected.distances)
        inside, all_inside = (index.range_search(queries, 4, {}, allowed) for index in (ours, theirs))
        np.testing.assert_array_equal(inside.ids, all_inside.ids)
        np.testing.assert_array_equal(inside.offsets, all_inside.offsets)


@pytest.mark.parametrize("kind", ["flat", "ivf"])
@pytest.mark.parametrize("count", [2, 7])
def test_several_devices_answer_as_one(kind, count):
    """Ties, filters and unfilled places are those of one; parts may be empty of what is allowed."""
    rng = np.random.default_rng(0)
    codes, queries = (rng.integers(0, 4, (rows, 2), dtype=np.uint8) for rows in (count, 2))
    one = TritonIndex.build(codes, type=kind, params={"nlist": 2, "nprobe": 1} if kind == "ivf" else {})
    three = TritonIndex(
        codes,
        module.InvertedLists(*one.inverted_lists(), 1) if kind == "ivf" else None,  # type: ignore[misc, call-arg]
        [module.choose()] * 3,
    )
    for k, allowed in ((1, None), (count + 1, np.arange(count) > count // 2), (9, np.zeros(count, bool))):
        found, expected = (index.search(queries, k, {}, allowed) for index in (three, one))
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.distances, expected.distances)
        inside, all_inside = (index.range_search(queries, 4, {}, allowed) for index in (three, one))
        np.testing.assert_array_equal(inside.ids, all_inside.ids)
        np.testing.assert_array_equal(inside.offsets, all_inside.offsets)


def test_the_command_answers_alike_on_every_device(th, tmp_path):
    rows = np.random.default_rng(0).integers(0, 4, (100, 2), dtype=np.uint8)
    names = StringTable.of([b"%03d.jpg" % place for place in range(len(rows))])
    codes = Codes(rows, Records(names), ModelRef("test", "test", 16))
    write_codes(tmp_path / "q.h5", codes.take(np.arange(len(rows)) < 2))
    Index.build(codes, "ivf", {"nlist": 4, "nprobe": 2}).save(tmp_path / "faiss.index")
    query = ("query", tmp_path / "faiss.index", tmp_path / "q.h5", "--json", "-k", 5)
    here, there = th(*query), th(*query, "--device", "auto")
    assert (here.stdout, here.stderr) == (there.stdout, there.stderr)
    assert here.stderr == ""


def test_takes_over_no_graph():
    codes = np.zeros((20, 2), np.uint8)
    with pytest.raises(BackendError, match="types that do: flat, ivf"):
        TritonIndex.of(backends.load("faiss").build(codes, type="hnsw"))
