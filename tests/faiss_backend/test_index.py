import tempfile
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faiss_backend import FaissIndex
from faiss_backend.storage import FILE
from transhash import hamming
from transhash.errors import BackendError
from transhash.testing import BackendContract


class TestFlat(BackendContract):
    backend = FaissIndex
    type = "flat"
    refuses = {"mmap"}


class TestIvf(BackendContract):
    backend = FaissIndex
    type = "ivf"
    search_params = {"nprobe": 1_000_000}
    refuses = {"mmap"}


@st.composite
def collections(draw):
    """Codes and queries of few distinct values: most distances tie."""
    width = draw(st.sampled_from([1, 2, 4, 8, 12, 32]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = draw(st.sampled_from([2, 3, 256]))
    return tuple(rng.integers(0, values, (draw(st.integers(1, n)), width), dtype=np.uint8) for n in (300, 6))


@settings(deadline=None, max_examples=60)
@given(collections(), st.sampled_from(["flat", "ivf"]), st.integers(1, 320), st.integers(0, 100), st.data())
def test_agrees_with_numpy_ties_included(pair, kind, k, radius, data):
    codes, queries = pair
    params = {"nlist": data.draw(st.integers(1, min(9, len(codes))))} if kind == "ivf" else {}
    every = {"nprobe": 9} if kind == "ivf" else {}
    index = FaissIndex.build(codes, type=kind, params=params)
    found, expected = index.search(queries, k, every), hamming.top_k(queries, codes, k)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)
    inside, all_inside = index.range_search(queries, radius, every), hamming.within(queries, codes, radius)
    np.testing.assert_array_equal(inside.ids, all_inside.ids)
    np.testing.assert_array_equal(inside.offsets, all_inside.offsets)


@settings(deadline=None, max_examples=30)
@given(collections(), st.integers(1, 50), st.integers(1, 4))
def test_few_probes_give_an_ordered_subset(pair, k, nprobe):
    codes, queries = pair
    index = FaissIndex.build(codes, type="ivf", params={"nlist": min(5, len(codes))})
    found = index.search(queries, k, {"nprobe": nprobe})
    distances = hamming.distances(queries, codes)
    for query in range(len(queries)):
        ids, own = found.row(query)
        assert (own == distances[query][ids]).all()
        pairs = list(zip(own.tolist(), ids.tolist(), strict=True))
        assert pairs == sorted(set(pairs))
        inside = index.range_search(queries[query : query + 1], int(own.max(initial=0)), {"nprobe": nprobe})
        np.testing.assert_array_equal(inside.ids[: len(ids)], ids)


def test_unfilled_places_come_last():
    codes = np.repeat(np.arange(4, dtype=np.uint8)[:, None] * 85, 8, axis=1)
    index = FaissIndex.build(codes, type="ivf", params={"nlist": 4, "nprobe": 1})
    found = index.search(codes, 4)
    assert found.ids[:, 1:].max() == -1
    assert found.distances[:, 1:].min() == np.iinfo(np.int32).max
    assert [len(found.row(query)[0]) for query in range(4)] == [1, 1, 1, 1]


def test_anyone_can_open_the_file(tmp_path):
    codes = np.random.default_rng(0).integers(0, 256, (100, 8), dtype=np.uint8)
    FaissIndex.build(codes, type="ivf").save(tmp_path)
    index = faiss.read_index_binary(str(tmp_path / FILE))
    assert (index.ntotal, index.d) == (100, 64)


def test_defaults_of_ivf_follow_the_number_of_codes():
    rng = np.random.default_rng(0)
    for count, nlist, nprobe in ((10, 1, 1), (1000, 25, 4), (20000, 512, 64)):
        info = FaissIndex.build(rng.integers(0, 256, (count, 8), dtype=np.uint8), type="ivf").info()
        assert (info["nlist"], info["nprobe"]) == (nlist, nprobe)


def test_search_parameters_do_not_stick():
    codes = np.random.default_rng(0).integers(0, 256, (400, 8), dtype=np.uint8)
    index = FaissIndex.build(codes, type="ivf", params={"nlist": 8, "nprobe": 2})
    before = index.search(codes[:20], 30).ids
    index.search(codes[:20], 30, {"nprobe": 8})
    np.testing.assert_array_equal(index.search(codes[:20], 30).ids, before)
    assert index.info()["nprobe"] == 2


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        ("hnsw", {}, "it has: flat, ivf"),
        ("flat", {"nlist": 3}, "no parameter nlist"),
        ("ivf", {"nlist": 11}, "10 codes"),
    ],
)
def test_refusals(kind, params, message):
    with pytest.raises(BackendError, match=message):
        FaissIndex.build(np.zeros((10, 8), np.uint8), type=kind, params=params)


@pytest.mark.parametrize("kind", ["flat", "ivf"])
def test_mutated_files_open_soundly_or_not_at_all(kind):
    """No mutant may crash the process, hang it, or take gigabytes; what opens must search."""
    codes = np.random.default_rng(0).integers(0, 256, (200, 8), dtype=np.uint8)
    rng = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        FaissIndex.build(codes, type=kind).save(folder)
        whole = np.frombuffer((folder / FILE).read_bytes(), np.uint8)
        refused = 0
        for attempt in range(400):
            mutant = whole.copy()
            if attempt % 4 == 0:
                mutant = mutant[: rng.integers(len(mutant))]
            elif attempt % 4 == 1:
                place = rng.integers(0, len(mutant) - 8)
                mutant[place : place + 8] = np.frombuffer(
                    np.uint64(rng.choice([0, 1, 2**31, 2**62])).tobytes(), np.uint8
                )
            else:
                mutant[rng.integers(0, 120, 2)] = rng.integers(0, 256, 2)
            (folder / FILE).write_bytes(mutant.tobytes())
            try:
                index = FaissIndex.load(folder)
            except BackendError as error:
                refused += 1
                assert "\n" not in str(error)
                continue
            ids = index.search(np.zeros((3, index.bits // 8), np.uint8), 10).ids
            assert ids.max(initial=-1) < len(index)
        assert 100 < refused < 400


def test_centroids_in_another_index_are_refused(tmp_path):
    """A graph has links that a stranger can point anywhere."""
    codes = np.random.default_rng(0).integers(0, 256, (200, 8), dtype=np.uint8)
    index = faiss.index_binary_factory(64, "BIVF8_HNSW4")
    index.train(codes)
    index.add(codes)
    faiss.write_index_binary(index, str(tmp_path / FILE))
    with pytest.raises(BackendError, match="not flat"):
        FaissIndex.load(tmp_path)


def test_other_faiss_indexes_are_refused(tmp_path):
    faiss.write_index_binary(faiss.IndexBinaryHNSW(64, 8), str(tmp_path / FILE))
    with pytest.raises(BackendError, match="IndexBinaryHNSW"):
        FaissIndex.load(tmp_path)
