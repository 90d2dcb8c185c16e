"""`DeviceCodes` against a stable sort of distances counted bit by bit."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash import hamming
from transhash.errors import BackendError
from transhash.gpu import DeviceCodes, choose, device, scan

few = settings(deadline=None, max_examples=8)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Several blocks, tiles, launches, groups and runs even for a handful of codes."""
    for name, size in {"_BLOCK": 32, "_TILE": 2, "_FIRST": 32, "_GROWTH": 2, "_LAUNCH": 64}.items():
        monkeypatch.setattr(scan, name, size)
    monkeypatch.setattr(scan, "_CELLS", 120)
    monkeypatch.setattr(scan, "_SURVIVORS", 20)
    monkeypatch.setattr(scan, "_UPLOAD", 100)


@st.composite
def collections(draw):
    """Queries and codes of one width, and a mask or none; drawn from few values, so that ties are common."""
    width = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = draw(st.sampled_from([1, 2, 4, 256]))
    queries, codes = (
        rng.integers(0, values, (draw(st.integers(low, high)), width), dtype=np.uint8)
        for low, high in ((0, 3), (1, 80))
    )
    part = draw(st.sampled_from([None, 0.0, 0.1, 0.9]))
    return queries, codes, None if part is None else rng.random(len(codes)) < part


def oracle(queries, codes, allowed):
    """The positions that may be found, and their distances from unpacked bits."""
    chosen = np.arange(len(codes)) if allowed is None else np.flatnonzero(allowed)
    bits = np.unpackbits(queries, axis=1)[:, None] != np.unpackbits(codes[chosen], axis=1)[None]
    return chosen, bits.sum(axis=2)


def check_top_k(queries, codes, k, allowed=None):
    chosen, distances = oracle(queries, codes, allowed)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    found = DeviceCodes(codes).top_k(queries, k, allowed)
    np.testing.assert_array_equal(found.ids, chosen[order])
    np.testing.assert_array_equal(found.distances, np.take_along_axis(distances, order, axis=1))
    assert (found.ids.dtype, found.distances.dtype) == (np.dtype("int64"), np.dtype("int32"))


@few
@given(collections(), st.integers(1, 90))
def test_top_k_is_a_stable_sort(collection, k):
    queries, codes, allowed = collection
    check_top_k(queries, codes, k, allowed)


@few
@given(collections(), st.integers(0, 60))
def test_within_includes_the_radius_and_is_ordered(collection, radius):
    queries, codes, allowed = collection
    chosen, distances = oracle(queries, codes, allowed)
    found = DeviceCodes(codes).within(queries, radius, allowed)
    assert len(found) == len(queries)
    for query in range(len(queries)):
        ids, own = found.row(query)
        near = np.flatnonzero(distances[query] <= radius)
        near = near[np.argsort(distances[query][near], kind="stable")]
        np.testing.assert_array_equal(ids, chosen[near])
        np.testing.assert_array_equal(own, distances[query][near])


@pytest.mark.parametrize("bits", [8, 24, 32, 40, 64, 72, 256, 1000, 1024])
def test_every_width(bits):
    rng = np.random.default_rng(bits)
    codes = rng.integers(0, 256, (33, bits // 8), dtype=np.uint8)
    codes[1], codes[2] = 0, 255
    check_top_k(codes[1:2], codes, 33)


def test_ties_are_cut_in_the_middle_of_a_block():
    codes = np.zeros((130, 2), dtype=np.uint8)
    codes[40] = 255
    for k in (1, 32, 33, 65, 129):
        check_top_k(codes[:1], codes, k)


def test_a_bound_is_drawn_from_k_codes_only():
    """The first launch finds one code; those that fill the row lie further away than that."""
    codes = np.repeat(np.array([[0, 0], [255, 255]], dtype=np.uint8), 65, axis=0)
    check_top_k(codes[:1], codes, 3, (np.arange(130) == 0) | (np.arange(130) > 65))


def test_codes_as_far_away_as_can_be():
    codes = np.full((40, 3), 255, dtype=np.uint8)
    check_top_k(~codes[:1], codes, 35)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
@pytest.mark.parametrize("bits", [32, 64, 256, 1024])
def test_as_on_the_cpu_at_size(bits, monkeypatch):
    monkeypatch.undo()
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (1_000_003, bits // 8), dtype=np.uint8)
    queries = np.concatenate([codes[:3], rng.integers(0, 256, (40, bits // 8), dtype=np.uint8)])
    codes[500_000:] = codes[:500_003]
    stored, allowed = DeviceCodes(codes), rng.random(len(codes)) < 0.5
    for asked in (queries[:1], queries):
        for k, mask in ((1, None), (10, allowed), (1000, None), (65_536, None)):
            found, expected = stored.top_k(asked, k, mask), hamming.top_k(asked, codes, k, mask)
            np.testing.assert_array_equal(found.ids, expected.ids)
            np.testing.assert_array_equal(found.distances, expected.distances)
        radius = int(hamming.top_k(asked, codes, 100).distances.max())
        inside, all_inside = stored.within(asked, radius), hamming.within(asked, codes, radius)
        np.testing.assert_array_equal(inside.offsets, all_inside.offsets)
        np.testing.assert_array_equal(inside.ids, all_inside.ids)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda codes: codes.top_k(np.zeros((1, 3), np.uint8), 1), r"must be uint8 \(q, 2\)"),
        (lambda codes: codes.top_k(np.zeros((1, 2), np.int8), 1), r"must be uint8"),
        (lambda codes: codes.within(np.zeros((1, 2), np.uint8), 1, np.ones(4, bool)), r"must be \(5,\)"),
        (lambda codes: choose("cuda:99"), "cuda:99"),
        (lambda codes: choose("gpu"), "use cuda"),
        (lambda codes: choose("meta"), "CUDA devices only"),
    ],
)
def test_misuse_is_one_line(call, said):
    codes = DeviceCodes(np.zeros((5, 2), dtype=np.uint8))
    with pytest.raises(BackendError, match=said) as caught:
        call(codes)
    assert "\n" not in str(caught.value)


def test_a_full_device_is_one_line():
    with pytest.raises(BackendError, match="a smaller k or radius"), device.searching(choose()):
        raise torch.OutOfMemoryError("out of memory")
