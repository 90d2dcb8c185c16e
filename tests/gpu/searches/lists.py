"""`DeviceLists` against a numpy scan of the probed lists."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash import hamming
from transhash.gpu import DeviceLists, scan


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    sizes = {"_BLOCK": 16, "_TILE": 2, "_FIRST": 16, "_GROWTH": 2, "_LAUNCH": 64, "_CELLS": 60, "_SURVIVORS": 20}
    for name, size in sizes.items():
        monkeypatch.setattr(scan, name, size)


@st.composite
def indexes(draw):
    """Codes in lists, as drawn: some lists are empty, some codes far from their centroid."""
    width = draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = draw(st.sampled_from([1, 2, 256]))
    queries, codes, centroids = (
        rng.integers(0, values, (draw(st.integers(*span)), width), dtype=np.uint8)
        for span in ((0, 3), (1, 60), (1, 4))
    )
    lists = rng.integers(0, len(centroids), len(codes))
    part = draw(st.sampled_from([None, 0.3]))
    return queries, codes, centroids, lists, None if part is None else rng.random(len(codes)) < part


def lists_of(codes, centroids, lists):
    order = np.argsort(lists, kind="stable")
    offsets = np.concatenate([[0], np.bincount(lists, minlength=len(centroids)).cumsum()])
    return DeviceLists(centroids, offsets, codes[order], order)


def candidates(queries, centroids, lists, nprobe, allowed):
    """Yield each query with the positions in its lists."""
    probes = hamming.top_k(queries, centroids, nprobe).ids
    for query in range(len(queries)):
        inside = np.isin(lists, probes[query])
        yield query, np.flatnonzero(inside if allowed is None else inside & allowed)


@settings(deadline=None, max_examples=8)
@given(indexes(), st.integers(1, 6), st.integers(1, 70))
def test_top_k_of_the_probed_lists(index, nprobe, k):
    queries, codes, centroids, lists, allowed = index
    found = lists_of(codes, centroids, lists).top_k(queries, k, nprobe, allowed)
    assert found.ids.shape == (len(queries), min(k, len(codes) if allowed is None else allowed.sum()))
    for query, inside in candidates(queries, centroids, lists, nprobe, allowed):
        expected = hamming.top_k(queries[query : query + 1], codes[inside], k)
        ids, distances = found.row(query)
        np.testing.assert_array_equal(ids, inside[expected.ids[0]])
        np.testing.assert_array_equal(distances, expected.distances[0])


@settings(deadline=None, max_examples=8)
@given(indexes(), st.integers(1, 6), st.integers(0, 50))
def test_within_the_probed_lists(index, nprobe, radius):
    queries, codes, centroids, lists, allowed = index
    found = lists_of(codes, centroids, lists).within(queries, radius, nprobe, allowed)
    assert len(found) == len(queries)
    for query, inside in candidates(queries, centroids, lists, nprobe, allowed):
        expected = hamming.within(queries[query : query + 1], codes[inside], radius)
        ids, distances = found.row(query)
        np.testing.assert_array_equal(ids, inside[expected.ids])
        np.testing.assert_array_equal(distances, expected.distances)
