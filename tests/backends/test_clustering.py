import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faiss_backend import FaissIndex, ivf
from transhash import hamming
from transhash.backends import clustering
from transhash.errors import BackendError


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 60), st.integers(1, 12), st.sampled_from([1, 3, 8]), st.integers(0, 2**32 - 1))
def test_majorities_are_those_of_a_plain_count(count, nlist, width, seed):
    rng = np.random.default_rng(seed)
    points, before = (rng.integers(0, 256, (rows, width), dtype=np.uint8) for rows in (count, nlist))
    lists = rng.integers(0, nlist, count)
    found = np.unpackbits(clustering._majorities(points, lists, before), axis=1)
    for place in range(nlist):
        own, old = np.unpackbits(points[lists == place], axis=1), np.unpackbits(before[place])
        ones, zeros = (own == 1).sum(axis=0), (own == 0).sum(axis=0)
        expected = np.where(ones > zeros, 1, np.where(ones < zeros, 0, old))
        np.testing.assert_array_equal(found[place], expected)


@pytest.mark.parametrize("params", [{"nlist": 60}, {"nlist": 60, "M": 8}])
def test_lists_fit_about_as_well_as_those_of_faiss(params, monkeypatch):
    rng = np.random.default_rng(0)
    centres = rng.random((60, 64)) < 0.5
    codes = np.packbits(centres[rng.integers(0, 60, 6200)] ^ (rng.random((6200, 64)) < 0.15), axis=1)
    queries, codes = codes[:200], codes[200:]
    furthest = hamming.top_k(queries, codes, 10).distances[:, -1:]
    recalls = []
    for many in (1024, 1):
        monkeypatch.setattr(ivf, "_FLOAT_CLUSTERED", many)
        index = FaissIndex.build(codes, type="ivf", params=params)
        assert len(index) == len(codes)
        recalls.append((index.search(queries, 10, {"nprobe": 6}).distances <= furthest).mean())
    assert min(recalls) > 0.8
    assert recalls[1] > recalls[0] - 0.1


def test_as_many_lists_as_codes():
    codes = np.arange(5, dtype=np.uint8)[:, None]
    np.testing.assert_array_equal(np.sort(clustering.centroids(codes, 5), axis=0), codes)
    assert clustering.centroids(np.zeros((9, 2), np.uint8), 4).shape == (4, 2)


def test_by_default_lists_hold_enough_codes_and_some_are_probed():
    assert clustering.plan(1) == (1, 1)
    assert clustering.plan(39 * 20) == (20, 8)
    assert clustering.plan(10_000_000) == (12_649, 396)
    assert clustering.plan(100, nlist=5, nprobe=9) == (5, 5)
    with pytest.raises(BackendError, match="nlist=101"):
        clustering.plan(100, nlist=101)
