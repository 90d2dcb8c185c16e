import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faiss_backend import FaissIndex, choice
from faiss_backend.storage import FILE
from transhash import hamming
from transhash.errors import BackendError


@st.composite
def collections(draw):
    """Codes and queries of few distinct values: most distances tie."""
    width = draw(st.sampled_from([1, 2, 4, 8, 12, 32]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = draw(st.sampled_from([2, 3, 256]))
    return tuple(rng.integers(0, values, (draw(st.integers(1, n)), width), dtype=np.uint8) for n in (300, 6))


THOROUGH = {"flat": {}, "ivf": {"nprobe": 9}, "hnsw": {"ef": 300}, "hash": {"nflip": 32}, "multihash": {"nflip": 32}}


@settings(deadline=None, max_examples=80)
@given(collections(), st.sampled_from([*THOROUGH]), st.integers(1, 320), st.integers(0, 100), st.data())
def test_agrees_with_numpy_ties_included(pair, kind, k, radius, data):
    codes, queries = pair
    params = {"nlist": data.draw(st.integers(1, min(9, len(codes))))} if kind == "ivf" else {}
    every = THOROUGH[kind]
    index = FaissIndex.build(codes, type=kind, params=params)
    found, expected = index.search(queries, k, every), hamming.top_k(queries, codes, k)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)
    inside, all_inside = index.range_search(queries, radius, every), hamming.within(queries, codes, radius)
    np.testing.assert_array_equal(inside.ids, all_inside.ids)
    np.testing.assert_array_equal(inside.offsets, all_inside.offsets)


@settings(deadline=None, max_examples=60)
@given(collections(), st.sampled_from(["ivf", "hash", "multihash"]), st.integers(1, 50), st.integers(1, 4))
def test_few_probes_give_an_ordered_subset(pair, kind, k, value):
    codes, queries = pair
    index = FaissIndex.build(codes, type=kind)
    few = {index.search_parameter().name: value}
    found = index.search(queries, k, few)
    distances = hamming.distances(queries, codes)
    for query in range(len(queries)):
        ids, own = found.row(query)
        assert (own == distances[query][ids]).all()
        pairs = list(zip(own.tolist(), ids.tolist(), strict=True))
        assert pairs == sorted(set(pairs))
        inside = index.range_search(queries[query : query + 1], int(own.max(initial=0)), few)
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
    for count, nlist, nprobe in ((10, 1, 1), (1000, 25, 8), (20000, 512, 16)):
        info = FaissIndex.build(rng.integers(0, 256, (count, 8), dtype=np.uint8), type="ivf").info()
        assert (info["nlist"], info["nprobe"]) == (nlist, nprobe)


def test_search_parameters_do_not_stick():
    codes = np.random.default_rng(0).integers(0, 256, (400, 8), dtype=np.uint8)
    index = FaissIndex.build(codes, type="ivf", params={"nlist": 8, "nprobe": 2})
    before = index.search(codes[:20], 30).ids
    index.search(codes[:20], 30, {"nprobe": 8})
    np.testing.assert_array_equal(index.search(codes[:20], 30).ids, before)
    assert index.info()["nprobe"] == 2


@settings(deadline=None, max_examples=40)
@given(collections(), st.integers(0, 100), st.sampled_from([2, 3, 4]))
def test_multihash_misses_nothing_within_a_radius(pair, radius, nhash):
    codes, queries = pair
    found = FaissIndex.build(codes, type="multihash", params={"nhash": nhash}).range_search(queries, radius)
    expected = hamming.within(queries, codes, radius)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.offsets, expected.offsets)


@settings(deadline=None, max_examples=40)
@given(
    collections(),
    st.integers(1, 30),
    st.sampled_from(["ivf", "hnsw"]),
    st.sets(st.integers(0, 299)),
    st.integers(1, 3),
)
def test_a_filtered_search_fills_its_rows(pair, k, kind, chosen, value):
    """However few are allowed, and wherever they are, there are as many answers as there can be."""
    codes, queries = pair
    allowed = np.isin(np.arange(len(codes)), list(chosen))
    index = FaissIndex.build(codes, type=kind)
    found = index.search(
        queries, k, {index.search_parameter().name: max(value, index.search_parameter().low)}, allowed
    )
    assert found.ids.shape == (len(queries), min(k, allowed.sum()))
    assert allowed[found.ids].all()
    for query, (ids, own) in enumerate(zip(found.ids, found.distances, strict=True)):
        assert (own == hamming.distances(queries[query : query + 1], codes)[0][ids]).all()
        assert [*zip(own, ids, strict=True)] == sorted({*zip(own, ids, strict=True)})


@settings(deadline=None, max_examples=60)
@given(collections(), st.integers(0, 300), st.integers(0, 300), st.integers(0, 2**32 - 1))
def test_codes_come_back_from_lists_after_any_change(pair, one, other, seed):
    codes, more = pair
    index = FaissIndex.build(codes, type="ivf", params={"nlist": min(5, len(codes))})
    for _ in range(2):
        start, stop = sorted(min(place, len(codes)) for place in (one, other))
        np.testing.assert_array_equal(index.reconstruct(start, stop), codes[start:stop])
        keep = np.random.default_rng(seed).random(len(codes)) < 0.7
        index.remove(keep)
        index.add(more)
        codes = np.concatenate([codes[keep], more])
    np.testing.assert_array_equal(index.reconstruct(0, len(codes)), codes)


def clustered(count, seed=0, bits=64):
    """Codes near to one of some centres each, as those of a trained hasher are."""
    rng = np.random.default_rng(seed)
    centres = rng.random((max(1, count // 100), bits)) < 0.5
    flips = rng.random((count, bits)) < 0.06
    return np.packbits(centres[rng.integers(0, len(centres), count)] ^ flips, axis=1)


@pytest.mark.parametrize("kind", ["ivf", "hnsw", "hash", "multihash"])
def test_defaults_find_most_neighbours(kind):
    codes = clustered(20_100)
    queries, codes = codes[:100], codes[100:]
    index = FaissIndex.build(codes, type=kind)
    found, expected = index.search(queries, 10), hamming.top_k(queries, codes, 10)
    recall = (found.distances <= expected.distances[:, -1:]).mean()
    assert recall > (0.9 if kind in ("ivf", "hnsw") else 0.5)


@pytest.mark.parametrize(
    ("factory", "info"),
    [
        ("BFlat", {"type": "flat"}),
        ("BIVF7", {"type": "ivf", "nlist": 7}),
        ("BIVF7_HNSW4", {"type": "ivf", "nlist": 7}),
        ("BHNSW8", {"type": "hnsw", "M": 8}),
        ("BHash12", {"type": "hash", "b": 12}),
        ("BHash1", {"type": "hash", "b": 1, "nflip": 1}),
        ("BHash4x9", {"type": "multihash", "nhash": 4, "b": 9}),
    ],
)
def test_factory_strings_name_type_and_parameters(factory, info):
    index = FaissIndex.build(clustered(300), type=factory)
    assert index.info().items() >= info.items()


def test_auto_says_why():
    few = FaissIndex.build(clustered(100), type="auto")
    assert few.info()["type"] == "flat"
    assert "milliseconds" in few.reason
    assert choice.chosen(10**8, 64, None).type == "ivf"
    assert "--recall 0.9" in choice.chosen(10**8, 64, 90).reason
    assert choice.chosen(10**8, 64, 100).type == "flat"
    assert not FaissIndex.build(clustered(100), type="flat").reason


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        ("lsh", {}, "it has: flat, ivf, hnsw, hash, multihash, auto, and FAISS's BFlat"),
        ("IDMap,BFlat", {}, "no index type"),
        ("BIVF4", {"nlist": 4}, "nlist: BIVF4 says it already"),
        ("BIVF0", {}, "must be at least 1"),
        ("BHash4x17", {}, "at most the 64 bits"),
        ("flat", {"nlist": 3}, "no parameter nlist"),
        ("ivf", {"nlist": 11}, "10 codes"),
        ("ivf", {"M": 1}, "M=1: must be from 2"),
        ("hnsw", {"M": 1000}, "M=1000: must be from 2"),
        ("hash", {"b": 25}, "b must be from 1 to 24"),
        ("hash", {"b": 4, "nflip": 5}, "nflip=5: must be from 0 to b=4"),
        ("auto", {"recall": 101}, "at most 100"),
    ],
)
def test_refusals(kind, params, message):
    with pytest.raises(BackendError, match=message):
        FaissIndex.build(np.zeros((10, 8), np.uint8), type=kind, params=params)


def test_what_a_type_cannot_do_names_those_that_can():
    codes = clustered(50)
    for kind, attempt in (
        ("hnsw", lambda index: index.remove(np.ones(50, bool))),
        ("hash", lambda index: index.search(codes, 3, None, np.ones(50, bool))),
        ("hash", lambda index: index.reconstruct(0, 1)),
        ("flat", lambda index: index.search(codes, 3, {"nprobe": 1})),
    ):
        with pytest.raises(BackendError, match=r"types that can: .*flat|it takes none"):
            attempt(FaissIndex.build(codes, type=kind))
