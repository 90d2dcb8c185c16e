from contextlib import contextmanager
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash import hamming, multi_index, native
from transhash.multi_index import Tables
from transhash.native import mih

BEST = native.isas[0] if native.isas else ""
ISAS = pytest.mark.parametrize("isa", sorted({"", *native.isas[-1:], BEST}), ids=lambda isa: isa or "numpy")
COMPILED = pytest.mark.skipif(not BEST, reason="built without a C compiler")
COSTS = pytest.mark.parametrize("costs", [1e9, 0.5], ids=["tables", "either"])


@contextmanager
def searching(isa, costs=0.5):
    """Search with an instruction set: by tables whatever that costs, or as the cost of comparing one code decides."""
    with (
        patch.object(hamming, "isa", isa),
        patch.object(multi_index, "_TRIED_TABLE", 0),
        patch.object(multi_index, "_TRIED_TABLE_FOR_ONE", 0),
        patch.object(multi_index, "_TABLE", 0),
        patch.object(multi_index, "_COMPARED_CACHED", costs),
        patch.object(multi_index, "_COMPARED_TOGETHER", costs),
    ):
        yield


@st.composite
def collections(draw):
    """Queries, codes full of ties and equal codes, and a mask."""
    width = draw(st.one_of(st.integers(1, 20), st.sampled_from([8, 16, 32, 127, 128])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = draw(st.sampled_from([2, 4, 256]))
    codes = rng.integers(0, values, (draw(st.integers(1, 200)), width), dtype=np.uint8)
    if draw(st.booleans()):
        codes = codes[rng.integers(0, draw(st.integers(1, len(codes))), len(codes))]
    asked = rng.integers(0, values, (draw(st.integers(0, 12)), width), dtype=np.uint8)
    near = codes[rng.integers(0, len(codes), 3)] ^ (rng.random((3, width)) < 0.1).astype(np.uint8)
    return np.concatenate([asked, near]), codes, rng.random(len(codes)) < draw(st.sampled_from([0, 0.1, 0.6, 1]))


def ranked(queries, codes, allowed):
    """Yield the positions and distances of the allowed codes, nearest first, for each query."""
    positions, bits = np.flatnonzero(allowed), np.unpackbits(codes[allowed], axis=1)
    for query in np.unpackbits(queries, axis=1):
        distances = (query != bits).sum(axis=1)
        order = np.argsort(distances, kind="stable")
        yield positions[order], distances[order]


def check(queries, codes, tables, k, radius, allowed):
    mask = None if allowed.all() else allowed
    nearest = multi_index.top_k(queries, codes, tables, k, mask)
    near = multi_index.within(queries, codes, tables, radius, mask)
    for query, (positions, distances) in enumerate(ranked(queries, codes, allowed)):
        inside = distances <= radius
        for found, expected in zip(
            (*nearest.row(query), *near.row(query)),
            (positions[:k], distances[:k], positions[inside], distances[inside]),
            strict=True,
        ):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
@ISAS
@COSTS
@settings(deadline=None, max_examples=40)
@given(collections(), st.integers(1, 210), st.integers(0, 200))
def test_answers_are_those_of_brute_force(isa, costs, collection, k, radius):
    queries, codes, allowed = collection
    with searching(isa, costs):
        check(queries, codes, Tables.of(codes), k, radius, allowed)


@pytest.mark.slow
@ISAS
@COSTS
@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize("width", [2, 8])
def test_thousands_of_codes_around_few_centres(isa, costs, width, threads, monkeypatch):
    """Several buckets per group, large buckets, hundreds of equal codes, and k from 1 to all."""
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    rng = np.random.default_rng(width)
    centres = rng.integers(0, 256, (5, width), dtype=np.uint8)
    noise = rng.integers(0, 256, (2000, width), dtype=np.uint8)
    for _ in range(3):
        noise &= rng.integers(0, 256, noise.shape, dtype=np.uint8)
    codes = centres[rng.integers(0, 5, 2000)] ^ noise
    codes[rng.random(2000) < 0.2] = centres[0]
    queries = np.concatenate([centres[:2], codes[:5], rng.integers(0, 256, (5, width), dtype=np.uint8)])
    everything, some = np.ones(len(codes), np.bool_), rng.random(len(codes)) < 0.3
    with searching(isa, costs):
        tables = Tables.of(codes)
        for k in (1, 10, 500, len(codes)):
            check(queries, codes, tables, k, min(k, 4 * width), everything)
            check(queries[:3], codes, tables, k, 2 * width, some)


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(collections())
def test_compiled_tables_are_those_of_numpy(collection):
    codes = collection[1]
    tables = Tables.of(codes)
    offsets, rows = multi_index._built(codes, tables.bits)
    np.testing.assert_array_equal(tables.offsets, offsets)
    np.testing.assert_array_equal(tables.rows, rows)
    assert tables.distinct(len(codes)) == len(np.unique(codes, axis=0))


@pytest.mark.parametrize("bits", [8, 16, 24, 32, 64, 128, 1024])
def test_keys_divide_the_bits_and_buckets_are_few(bits):
    for count in (1, 1000, 10**6, 10**7, 10**9):
        lengths = multi_index.key_bits(bits, count)
        assert lengths.sum() == bits
        assert lengths.max() - lengths.min() <= 1
        assert np.sum(2.0**lengths) <= max(2 * count, 256 * bits // 8)


@COMPILED
def test_a_useless_search_is_given_up_at_once():
    """With uniformly random codes, nearly no work is done before all codes are compared."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (5000, 16), dtype=np.uint8)
    tables, queries = Tables.of(codes), rng.integers(0, 256, (9, 16), dtype=np.uint8)
    arrays = (codes, tables.bits, tables.offsets, tables.rows)
    assert (mih.nearest(arrays, queries, 10, None, 5000, (3000.0, 0), BEST)[2] < 0).all()
    assert (mih.within(arrays, queries, 60, None, 3000.0, BEST)[0] == -1).all()
    assert (mih.nearest(arrays, codes[:9], 1, None, 5000, (3000.0, 0), BEST)[2] > 0).all()


def test_tables_pay_off_for_a_batch_if_most_searches_end_early():
    cheap, dear, useless = np.full(8, 300.0), np.full(8, 9_500.0), np.full(8, -2_000.0)
    assert multi_index._pays(cheap, 10_000)
    assert not multi_index._pays(dear, 10_000)
    assert not multi_index._pays(useless, 10_000)
    assert multi_index._pays(np.concatenate([cheap, useless[:3]]), 10_000)
    assert not multi_index._pays(np.concatenate([cheap[:1], useless]), 10_000)


@COMPILED
@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(0, 150), st.sampled_from([5e-3, 0.05]))
def test_batches_of_near_and_far_queries(seed, near, costs):
    """Whatever a few of the queries show, and whichever are found."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (3000, 8), dtype=np.uint8)
    codes = codes[rng.integers(0, 1500, len(codes))]
    queries = np.concatenate([codes[:near], rng.integers(0, 256, (150 - near, 8), dtype=np.uint8)])
    with searching(BEST, costs):
        found, expected = multi_index.top_k(queries, codes, Tables.of(codes), 3), hamming.top_k(queries, codes, 3)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)


@pytest.mark.slow
@COMPILED
@settings(deadline=None, max_examples=60)
@given(collections(), st.integers(1, 50), st.integers(0, 100), st.data())
def test_damaged_tables_do_no_harm(collection, k, radius, data):
    """Rows and offsets are checked where they are used: whatever they hold, nothing else is read."""
    queries, codes, allowed = collection
    tables = Tables.of(codes)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    for array in (tables.offsets, tables.rows):
        places = rng.random(len(array)) < data.draw(st.sampled_from([0, 0.01, 0.5]))
        array[places] = rng.integers(0, data.draw(st.sampled_from([300, 2**32])), places.sum(), dtype=np.uint32)
    arrays = (codes, tables.bits, tables.offsets, tables.rows)
    for mask in (None, allowed):
        ids, _, costs = mih.nearest(arrays, queries, k, mask, len(codes), (2e3, 100.0), BEST)
        found = costs > 0
        assert ((ids[found] >= 0) & (ids[found] < len(codes))).all()
        _, keys = mih.within(arrays, queries, min(radius, 8 * codes.shape[1]), mask, 2e3, BEST)
        assert (keys & np.uint64(2**32 - 1)).max(initial=0) < len(codes)


def test_files(tmp_path):
    codes = np.random.default_rng(0).integers(0, 4, (300, 8), dtype=np.uint8)
    tables = Tables.of(codes)
    tables.save(tmp_path)
    for mmap in (False, True):
        loaded = Tables.load(tmp_path, 300, 64, mmap)
        check(codes[:5], codes, loaded, 9, 3, np.ones(300, np.bool_))
        assert loaded.nbytes == tables.nbytes
    offsets, rows = tables.offsets, tables.rows
    for name, array, message in (
        ("rows.npy", rows[:-1], "rows for 300 codes"),
        ("rows.npy", rows[:299], "rows for 300 codes"),
        ("rows.npy", rows.astype(np.int64), "are not tables"),
        ("rows.npy", np.where(np.arange(len(rows)) == 5, np.uint32(300), rows), "a row outside the index"),
        ("offsets.npy", offsets[:-1], "offsets for codes of 64 bits"),
        ("offsets.npy", offsets[::-1].copy(), "the buckets do not hold the rows"),
        ("offsets.npy", offsets + np.uint32(1), "the buckets do not hold the rows"),
        ("offsets.npy", offsets.reshape(1, -1), "are not tables"),
    ):
        tables.save(tmp_path)
        np.save(tmp_path / name, array)
        for mmap in (False, True):
            with pytest.raises(ValueError, match=message):
                Tables.load(tmp_path, 300, 64, mmap)


@COMPILED
def test_compiled_functions_reject_invalid_arguments():
    codes = np.zeros((4, 8), np.uint8)
    tables = Tables.of(codes)

    def search(codes=codes, bits=tables.bits, offsets=tables.offsets, rows=tables.rows, allowed=None):
        return mih.nearest((codes, bits, offsets, rows), codes[:1], 1, allowed, 4, (1e9, 0), BEST)

    search()
    for message, changes in (
        ("do not divide the bits", {"bits": tables.bits[1:].copy()}),
        ("do not divide the bits", {"bits": np.array([31, 31, 2], np.uint32)}),
        ("do not divide the bits", {"bits": np.array([0, 64], np.uint32)}),
        ("do not have the rows", {"rows": tables.rows[:2].copy()}),
        ("do not have the rows", {"rows": tables.rows[:-1].copy()}),
        ("bytes where", {"offsets": tables.offsets[:-1].copy()}),
        ("bytes where", {"allowed": np.ones(3, np.bool_)}),
    ):
        with pytest.raises(ValueError, match=message):
            search(**changes)
    with pytest.raises(ValueError, match="k must be"):
        mih.nearest((codes, tables.bits, tables.offsets, tables.rows), codes, 0, None, 4, (1e9, 0), BEST)
