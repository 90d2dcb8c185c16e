from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faiss_backend import FaissIndex, blocks, choice, estimate
from faiss_backend.kind import FILE
from transhash import hamming, multi_index
from transhash.errors import BackendError


@st.composite
def collections(draw):
    """Codes and queries with few distinct values, so that most distances tie."""
    width = draw(st.sampled_from([1, 2, 4, 8, 12, 32]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = draw(st.sampled_from([2, 3, 256]))
    return tuple(rng.integers(0, values, (draw(st.integers(1, n)), width), dtype=np.uint8) for n in (300, 6))


THOROUGH = {
    "flat": {},
    "mih": {},
    "ivf": {"nprobe": 9},
    "hnsw": {"ef": 300},
    "hash": {"nflip": 32},
    "multihash": {"nflip": 32},
}


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


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(collections(), st.sampled_from(["ivf", "hash", "multihash"]), st.integers(1, 50), st.integers(1, 4))
def test_few_probes_give_full_rows_in_order(pair, kind, k, value):
    codes, queries = pair
    index = FaissIndex.build(codes, type=kind)
    few = {index.search_parameter().name: value}
    found = index.search(queries, k, few)
    assert found.ids.shape == (len(queries), min(k, len(codes)))
    distances = hamming.distances(queries, codes)
    for query, (ids, near) in enumerate(zip(found.ids, found.distances, strict=True)):
        assert (near == distances[query][ids]).all()
        pairs = list(zip(near.tolist(), ids.tolist(), strict=True))
        assert pairs == sorted(set(pairs))
        inside = index.range_search(queries[query : query + 1], int(near.max()), few)
        expected = hamming.within(queries[query : query + 1], codes, int(near.max()))
        np.testing.assert_array_equal(inside.ids, expected.ids[np.isin(expected.ids, inside.ids)])


@st.composite
def duplicated(draw):
    """Codes that are mostly equal, like those of blank pages, in any order; queries are stored and other codes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    width = draw(st.sampled_from([1, 2, 8, 12]))
    distinct = rng.integers(0, 256, (draw(st.integers(1, 120)), width), dtype=np.uint8)
    equal = np.repeat(distinct[:2], draw(st.integers(0, 300)), axis=0)
    codes = rng.permutation(np.concatenate([distinct, equal]))
    return codes, np.concatenate([distinct[:8], rng.integers(0, 256, (3, width), dtype=np.uint8)])


def check_answers(index, codes, queries, k, allowed):
    """Check that rows are full and sorted, distances are true, stored codes are found, and k = n is exact."""
    found = index.search(queries, k, None, allowed)
    expected = hamming.top_k(queries, codes, k, allowed)
    assert found.ids.shape == expected.ids.shape
    distances = hamming.distances(queries, codes)
    for query, (ids, near) in enumerate(zip(found.ids, found.distances, strict=True)):
        assert (near == distances[query][ids]).all()
        pairs = [*zip(near.tolist(), ids.tolist(), strict=True)]
        assert pairs == sorted(set(pairs))
    if allowed is not None:
        assert allowed[found.ids].all()
    exact = expected.distances == 0
    np.testing.assert_array_equal(found.ids[exact], expected.ids[exact])
    if k >= len(codes):
        np.testing.assert_array_equal(found.ids, expected.ids)


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(duplicated(), st.sampled_from(["flat", "ivf", "mih", "hnsw", "hash", "multihash", "BIVF6_HNSW4"]), st.data())
def test_many_equal_codes(pair, kind, data):
    """No equal or exact match is missed with default parameters, before and after changes, and after saving."""
    codes, queries = pair
    kind = kind if len(codes) >= 6 else "flat"
    index = FaissIndex.build(codes, type=kind)
    k = data.draw(st.sampled_from([1, 2, len(codes) // 2 + 1, len(codes), len(codes) + 3]))
    check_answers(index, codes, queries, k, None)
    if data.draw(st.booleans()):
        index.add(codes[::-2].copy())
        codes = np.concatenate([codes, codes[::-2]])
    mask = np.random.default_rng(data.draw(st.integers(0, 99))).random(len(codes)) < 0.5
    if kind != "hnsw" and "hash" not in kind and data.draw(st.booleans()):
        index.remove(mask)
        codes = codes[mask]
        mask = mask[: len(codes)]
        if not len(codes):
            return
    if data.draw(st.booleans()):
        with TemporaryDirectory() as folder:
            index.save(Path(folder))
            index = FaissIndex.load(Path(folder))
    assert len(index) == len(codes)
    check_answers(index, codes, queries, k, None)
    np.testing.assert_array_equal(index.reconstruct(0, len(codes)), codes)
    if "hash" not in kind and mask.any():
        check_answers(index, codes, queries, k, mask)
    radius = data.draw(st.integers(0, 8 * codes.shape[1]))
    if "ivf" not in kind.lower():
        inside, expected = index.range_search(queries, radius), hamming.within(queries, codes, radius)
        np.testing.assert_array_equal(inside.ids, expected.ids)
        np.testing.assert_array_equal(inside.offsets, expected.offsets)


def test_a_graph_finds_every_code_beside_a_thousand_equal_ones():
    rng = np.random.default_rng(7)
    distinct = rng.integers(0, 256, (2000, 8), dtype=np.uint8)
    index = FaissIndex.build(rng.permutation(np.concatenate([distinct, np.zeros((1000, 8), np.uint8)])), type="hnsw")
    assert index.info()["distinct"] == 2001
    assert not index.search(distinct, 1).distances.any()


def test_a_graph_of_an_older_version_with_equal_codes(tmp_path):
    """Searches compare all codes; adding codes rebuilds the index."""
    rng = np.random.default_rng(7)
    distinct = rng.integers(0, 256, (500, 8), dtype=np.uint8)
    codes = rng.permutation(np.concatenate([distinct, np.zeros((300, 8), np.uint8)]))
    old = faiss.IndexBinaryHNSW(64, 16)
    old.add(codes)
    faiss.write_index_binary(old, str(tmp_path / FILE))
    index = FaissIndex.load(tmp_path)
    expected = hamming.top_k(distinct, codes, 400)
    np.testing.assert_array_equal(index.search(distinct, 400).ids, expected.ids)
    (tmp_path / "again").mkdir()
    index.save(tmp_path / "again")
    assert FaissIndex.load(tmp_path / "again").info() == index.info()
    index.add(codes[:1])
    assert (index.info()["distinct"], len(index)) == (501, 801)
    assert not index.search(distinct, 1).distances.any()


def test_lists_that_hold_too_few_codes():
    """More lists are probed, up to all of them, until there are k matches."""
    codes = np.random.default_rng(0).integers(0, 256, (3000, 8), dtype=np.uint8)
    index = FaissIndex.build(codes, type="ivf")
    for k in (300, 400, 1000, 3000, 5000):
        found = index.search(codes[:3], k)
        assert found.ids.shape == (3, min(k, 3000))
        assert found.ids.min() >= 0
    np.testing.assert_array_equal(found.ids, hamming.top_k(codes[:3], codes, 3000).ids)


@pytest.mark.parametrize("kind", ["ivf", "mih"])
def test_anyone_can_open_the_file(kind, tmp_path):
    codes = np.random.default_rng(0).integers(0, 256, (100, 8), dtype=np.uint8)
    FaissIndex.build(codes, type=kind).save(tmp_path)
    index = faiss.read_index_binary(str(tmp_path / FILE))
    assert (index.ntotal, index.d) == (100, 64)


@pytest.mark.slow
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


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(
    collections(),
    st.integers(1, 30),
    st.sampled_from(["ivf", "hnsw"]),
    st.sets(st.integers(0, 299)),
    st.integers(1, 3),
)
def test_a_filtered_search_fills_its_rows(pair, k, kind, chosen, value):
    """A filtered search returns k matches, or all allowed rows if there are fewer."""
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
@given(collections(), st.integers(1, 40), st.integers(0, 2**32 - 1), st.booleans())
def test_lists_are_searched_like_numpy_after_any_change(pair, k, seed, filtered):
    """At every number of probes; a query whose lists hold too few codes probes four times as many."""
    codes, queries = pair
    rng = np.random.default_rng(seed)
    index = FaissIndex.build(codes, type="ivf", params={"nlist": int(rng.integers(1, min(6, len(codes)) + 1))})
    for _ in range(2):
        lists = index.inverted_lists()
        assert lists
        centroids, owner = lists
        near, far = hamming.distances(queries, centroids), hamming.distances(queries, codes)
        order = np.argsort(near, axis=1, kind="stable")
        allowed = rng.random(len(codes)) < 0.4 if filtered else np.ones(len(codes), np.bool_)
        wanted = min(k, int(allowed.sum()))
        for probes in range(1, len(centroids) + 1):
            found = index.search(queries, k, {"nprobe": probes}, allowed if filtered else None)
            for query in range(len(queries)):
                count, rows = probes, np.empty(0, np.int64)
                while len(rows) < wanted:
                    rows = np.flatnonzero(np.isin(owner, order[query, :count]) & allowed)
                    count *= 4
                best = rows[np.argsort(far[query, rows], kind="stable")[:k]]
                np.testing.assert_array_equal(found.ids[query], best)
                np.testing.assert_array_equal(found.distances[query], far[query, best])
        keep = rng.random(len(codes)) < 0.7
        keep[0] = True
        index.remove(keep)
        index.add(queries)
        codes = np.concatenate([codes[keep], queries])


@pytest.mark.slow
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
    """Codes around common centres, like those of a trained hasher."""
    rng = np.random.default_rng(seed)
    centres = rng.random((max(1, count // 100), bits)) < 0.5
    flips = rng.random((count, bits)) < 0.06
    return np.packbits(centres[rng.integers(0, len(centres), count)] ^ flips, axis=1)


@pytest.mark.slow
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


def test_auto_gives_a_reason():
    few = FaissIndex.build(clustered(100), type="auto")
    assert few.info()["type"] == "flat"
    assert "milliseconds" in few.reason
    assert not FaissIndex.build(clustered(100), type="flat").reason


@pytest.mark.parametrize(
    ("count", "bits", "recall", "share", "expected"),
    [
        (10**8, 64, None, 0.2, "ivf"),
        (10**8, 64, None, 0.01, "mih"),
        (10**8, 64, 100, 0.2, "mih"),
        (10**8, 512, 100, 0.01, "flat"),
        (10**8, 512, None, 0.01, "ivf"),
        (1 << 31, 64, 100, 0.01, "flat"),
        (1 << 31, 64, None, 0.01, "ivf"),
        (4 * 10**6, 64, None, 0.01, "mih"),
        (4 * 10**6, 64, 100, 0.2, "flat"),
        (10**6, 64, None, 0.01, "flat"),
    ],
)
def test_auto_takes_what_is_fast(count, bits, recall, share, expected):
    assert choice.chosen(count, bits, recall, lambda: share).type == expected


def test_auto_says_how_to_tune_and_what_is_gained():
    assert "--recall 0.9" in choice.chosen(10**8, 64, 90, lambda: 1.0).reason
    assert "cost about 1/100 of comparing all codes" in choice.chosen(10**8, 64, 90, lambda: 0.01).reason
    assert "cost less than 1/1000 of" in choice.chosen(10**8, 64, 90, lambda: 1e-6).reason


@pytest.mark.slow
def test_auto_takes_mih_for_clustered_and_repeated_codes_only(tmp_path):
    """Also when it reads them block by block."""
    rng = np.random.default_rng(0)
    uniform = rng.integers(0, 256, (200_000, 8), dtype=np.uint8)
    flips = np.packbits(rng.random((len(uniform), 64)) < 0.03, axis=1)
    near = uniform[rng.integers(0, 10_000, len(uniform))] ^ flips
    repeated = uniform[rng.integers(0, 100, len(uniform))]
    with (
        patch.object(choice, "_FEW", 1000),
        patch.object(blocks, "_BLOCK_ROWS", 60_000),
        patch.object(multi_index, "_TRIED_TABLE", 100),
    ):
        for codes, expected in ((uniform, "flat"), (near, "mih"), (repeated, "mih")):
            built = FaissIndex.build(codes, type="auto")
            assert built.info()["type"] == expected
            streamed = FaissIndex.stream(codes, tmp_path, type="auto")
            assert (streamed.info()["type"], streamed.reason) == (expected, built.reason)


def test_auto_does_not_take_mih_where_it_would_compare_all_codes():
    """Codes around few others are compared quickly; of few distinct codes, each is compared once."""
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 256, (100, 8), dtype=np.uint8)[rng.integers(0, 100, 100_000)]
    near = centres ^ np.packbits(rng.random((len(centres), 64)) < 0.03, axis=1)
    with patch.object(choice, "_FEW", 1000):
        assert estimate.share_of_scan(near) == 1
        assert FaissIndex.build(near, type="auto").info()["type"] == "flat"
        assert estimate.share_of_scan(centres) < 0.1


@settings(deadline=None, max_examples=40)
@given(collections(), st.integers(1, 70), st.integers(1, 300), st.randoms())
def test_a_sample_of_distinct_codes_does_not_depend_on_their_order(pair, most, step, random):
    codes = pair[0]
    order = random.sample(range(len(codes)), len(codes))
    samples = [estimate.DistinctSample(codes.shape[1]) for _ in range(2)]
    with patch.object(estimate, "_MOST", most), patch.object(estimate, "_STEP", step):
        samples[0].add(codes)
        for start in range(0, len(codes), 2 * step):
            samples[1].add(codes[order[start : start + 2 * step]])
    distinct = np.unique(codes, axis=0)
    for sample in samples:
        assert len(np.unique(np.concatenate([distinct, sample.codes]), axis=0)) == len(distinct)
        assert len(np.unique(sample.codes, axis=0)) == len(sample.codes) <= most
        assert len(sample.codes) == len(distinct) if sample.scale == 1 else len(distinct) > most
        np.testing.assert_array_equal(sample.codes, samples[0].codes)


def test_a_sample_of_distinct_codes_tells_their_number():
    rng = np.random.default_rng(0)
    for width in (3, 8, 20):
        distinct = rng.integers(0, 256, (400_000, width), dtype=np.uint8)
        sample = estimate.DistinctSample(width)
        sample.add(distinct[rng.integers(0, 300_000, 400_000)])
        assert sample.scale > 1
        assert abs(len(sample.codes) * sample.scale - 300_000 * (1 - np.exp(-4 / 3))) < 5_000


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        ("lsh", {}, "it has: flat, ivf, mih, hnsw, hash, multihash, auto, and FAISS's BFlat"),
        ("IDMap,BFlat", {}, "no index type"),
        ("BIVF4", {"nlist": 4}, "nlist: BIVF4 sets it already"),
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
        ("flat", lambda index: index.search(codes, 3, {"nprobe": 1})),
    ):
        with pytest.raises(BackendError, match=r"types that can: .*flat|it takes none"):
            attempt(FaissIndex.build(codes, type=kind))


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(duplicated(), st.integers(1, 400), st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_hash_tables_follow_changes(pair, k, radius, seed):
    """Type mih answers like a scan after additions and removals, for k from 1 to all codes, also when mapped."""
    codes, queries = pair
    rng = np.random.default_rng(seed)
    index = FaissIndex.build(codes, type="mih")
    for _ in range(2):
        keep = rng.random(len(codes)) < 0.7
        index.remove(keep)
        index.add(codes[::3].copy())
        codes = np.concatenate([codes[keep], codes[::3]])
        allowed = rng.random(len(codes)) < 0.5
        with TemporaryDirectory() as folder:
            index.save(Path(folder))
            for one in (index, FaissIndex.load(Path(folder)), FaissIndex.load(Path(folder), mmap=True)):
                for mask in (None, allowed):
                    found, expected = one.search(queries, k, None, mask), hamming.top_k(queries, codes, k, mask)
                    np.testing.assert_array_equal(found.ids, expected.ids)
                    np.testing.assert_array_equal(found.distances, expected.distances)
                    inside, all_inside = (
                        one.range_search(queries, radius, None, mask),
                        hamming.within(queries, codes, radius, mask),
                    )
                    np.testing.assert_array_equal(inside.ids, all_inside.ids)
                    np.testing.assert_array_equal(inside.offsets, all_inside.offsets)


def test_a_damaged_table_is_an_error_that_names_it(tmp_path):
    FaissIndex.build(clustered(300), type="mih").save(tmp_path)
    np.save(tmp_path / "rows.npy", np.full(900, 300, np.uint32))
    for mmap in (False, True):
        with pytest.raises(BackendError, match=r"or damaged \(rows\.npy: .*; build the index again"):
            FaissIndex.load(tmp_path, mmap)
