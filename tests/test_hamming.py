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


@settings(deadline=None)
@given(collections(), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_counts(pair, classes, seed):
    queries, codes = pair
    rng = np.random.default_rng(seed)
    query_labels, labels = (rng.integers(0, classes, len(rows)).astype(np.int32) for rows in pair)
    total, relevant = hamming.counts(queries, codes, query_labels, labels)
    distances = oracle(queries, codes)
    for query in range(len(queries)):
        levels = np.arange(codes.shape[1] * 8 + 1)
        np.testing.assert_array_equal(total[query], (distances[query][None] == levels[:, None]).sum(axis=1))
        hits = distances[query][labels == query_labels[query]]
        np.testing.assert_array_equal(relevant[query], (hits[None] == levels[:, None]).sum(axis=1))
