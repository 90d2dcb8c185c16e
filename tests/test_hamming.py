import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash import hamming


@st.composite
def collections(draw):
    """Queries and codes of one width, drawn from few values so that ties and duplicates are common."""
    width = draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = draw(st.sampled_from([2, 4, 256]))
    queries, codes = (
        rng.integers(0, values, (draw(st.integers(low, high)), width), dtype=np.uint8)
        for low, high in ((0, 5), (1, 60))
    )
    return queries, codes


def oracle(queries, codes):
    """Distances from unpacked bits, one by one."""
    bits = np.unpackbits(queries, axis=1)[:, None] != np.unpackbits(codes, axis=1)[None]
    return bits.sum(axis=2)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(hamming, "_BLOCK", 64)
    monkeypatch.setattr(hamming, "_ROWS", 16)


@given(collections())
def test_distances(pair):
    np.testing.assert_array_equal(hamming.distances(*pair), oracle(*pair))


@settings(deadline=None)
@given(collections(), st.integers(1, 70))
def test_top_k_is_a_stable_sort(pair, k):
    queries, codes = pair
    distances = oracle(queries, codes)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    found = hamming.top_k(queries, codes, k)
    np.testing.assert_array_equal(found.ids, order)
    np.testing.assert_array_equal(found.distances, np.take_along_axis(distances, order, axis=1))


@settings(deadline=None)
@given(collections(), st.integers(0, 170))
def test_within_is_closed_and_ordered(pair, radius):
    queries, codes = pair
    distances = oracle(queries, codes)
    found = hamming.within(queries, codes, radius)
    assert len(found) == len(queries)
    for query in range(len(queries)):
        ids, own = found.row(query)
        expected = sorted((d, i) for i, d in enumerate(distances[query].tolist()) if d <= radius)
        assert list(zip(own.tolist(), ids.tolist(), strict=True)) == expected


def check_counts(pair, labels, relevance):
    """Compare counts with relevance (q, n) bool, level by level."""
    queries, codes = pair
    total, relevant = hamming.counts(queries, codes, *labels)
    distances = oracle(queries, codes)
    levels = np.arange(codes.shape[1] * 8 + 1)
    for query in range(len(queries)):
        np.testing.assert_array_equal(total[query], (distances[query][None] == levels[:, None]).sum(axis=1))
        hits = distances[query][relevance[query]]
        np.testing.assert_array_equal(relevant[query], (hits[None] == levels[:, None]).sum(axis=1))


@settings(deadline=None)
@given(collections(), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_counts(pair, classes, seed):
    """One label a row; -1 is none, and shared by nobody."""
    rng = np.random.default_rng(seed)
    asked, stored = (rng.integers(-1, classes, len(rows)).astype(np.int32) for rows in pair)
    check_counts(pair, (asked, stored), (asked[:, None] == stored) & (asked[:, None] >= 0))


@settings(deadline=None)
@given(collections(), st.integers(1, 150), st.floats(0, 0.5), st.integers(0, 2**32 - 1))
def test_counts_of_label_sets(pair, classes, density, seed):
    rng = np.random.default_rng(seed)
    asked, stored = (rng.random((len(rows), classes)) < density for rows in pair)
    sets = [np.packbits(side, axis=1) for side in (asked, stored)]
    check_counts(pair, sets, asked.astype(int) @ stored.astype(int).T > 0)


@pytest.mark.parametrize("bits", [120, 128, 256, 1024])
def test_counts_reach_the_far_end(bits):
    """Distances and relevance share one small integer: no width overflows it."""
    codes = np.array([[0] * (bits // 8), [255] * (bits // 8)], dtype=np.uint8)
    total, relevant = hamming.counts(codes[:1], codes, np.array([3], np.int32), np.array([3, 3], np.int32))
    for found in (total, relevant):
        assert found[0].nonzero()[0].tolist() == [0, bits]
