import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from transhash import Codes, Index, dedup, hamming
from transhash.codes import ModelRef, Records
from transhash.errors import BackendError
from transhash.index import filters


def codes_of(packed, paths=None, sizes=None):
    paths = paths or [b"%d.jpg" % row for row in range(len(packed))]
    mtimes = None if sizes is None else np.zeros(len(packed), np.int64)
    model = ModelRef("phash", "digest", packed.shape[1] * 8)
    return Codes(packed, Records(paths, b"/nowhere", None, (), sizes, mtimes), model)


def groups(labels):
    """The same for two numberings of the same components."""
    _, first = np.unique(labels, return_index=True)
    order = np.argsort(first)
    return np.argsort(order)[np.unique(labels, return_inverse=True)[1]].tolist()


@st.composite
def collections(draw):
    """Codes with copies and near-copies, from sparse to dense, and a radius."""
    width, count = draw(st.sampled_from([1, 2, 3, 8, 16])), draw(st.integers(1, 800))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sources = rng.integers(0, 256, (draw(st.integers(1, count)), width), dtype=np.uint8)
    packed = sources[rng.integers(0, len(sources), count)]
    flips = rng.random((count, width * 8)) < draw(st.sampled_from([0, 0.01, 0.05]))
    return packed ^ np.packbits(flips, axis=1), draw(st.integers(0, 12) | st.integers(0, width * 8))


@settings(deadline=None, max_examples=200)
@given(collections())
def test_components_equal_brute_force(collection):
    packed, radius = collection
    _, expected = connected_components(hamming.distances(packed, packed) <= radius)
    assert groups(dedup.components(packed, radius)) == groups(expected)


@settings(deadline=None, max_examples=60)
@given(collections(), st.integers(0, 2**32 - 1))
@pytest.mark.parametrize("backend", [None, "exact", "faiss"])
def test_clusters_equal_brute_force(backend, collection, seed):
    packed, radius = collection
    rng = np.random.default_rng(seed)
    sizes = rng.integers(-1, 3, len(packed)) if backend is None else None
    images, ids = codes_of(packed, sizes=sizes), np.arange(len(packed))
    if backend:
        images = Index.build(images, backend)
        gone = rng.random(len(packed)) < 0.3
        gone[0] = False
        images.remove(gone)
        packed, ids = packed[~gone], ids[~gone]
        sizes = np.full(len(packed), -1)
    apart = hamming.distances(packed, packed).astype(int)
    _, labels = connected_components(apart <= radius)
    expected = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) > 1:
            best = rows[sizes[rows].argmax()]
            others = sorted((apart[best, row], row) for row in rows if row != best)
            expected.append([(0, best), *others])
    expected.sort(key=lambda rows: (-len(rows), min(row for _, row in rows)))
    found = list(dedup.clusters(images, radius))
    assert [list(zip(own.distances, own.ids, strict=True)) for own in found] == [
        [(distance, ids[row]) for distance, row in rows] for rows in expected
    ]
    assert [own.sizes.tolist() for own in found] == [[sizes[row] for _, row in rows] for rows in expected]
    assert [own.paths for own in found] == [[f"/nowhere/{id}.jpg" for id in own.ids] for own in found]
    assert all((own.ids.dtype, own.distances.dtype) == (np.int64, np.int32) for own in found)


def test_the_largest_file_represents(tmp_path):
    for name, size in ((b"small", 10), (b"large \xff", 30), (b"also large", 30)):
        (tmp_path / os.fsdecode(name)).write_bytes(b"x" * size)
    packed = np.array([[0], [1], [3], [3]], np.uint8)
    records = Records([b"small", b"large \xff", b"also large", b"gone"], os.fsencode(tmp_path))
    (cluster,) = dedup.clusters(Index.build(Codes(packed, records, ModelRef("phash", "digest", 8))), 1)
    assert cluster.ids.tolist() == [1, 0, 2, 3]
    assert cluster.distances.tolist() == [0, 1, 1, 1]
    assert cluster.sizes.tolist() == [30, 10, 30, -1]
    assert os.fsencode(cluster.paths[0]) == os.fsencode(tmp_path) + b"/large \xff"


def test_a_chain_is_one_cluster():
    packed = np.packbits(np.tri(65, 64, -1, dtype=bool), axis=1)
    (cluster,) = dedup.clusters(codes_of(packed), 1)
    assert cluster.distances.tolist() == list(range(65))
    assert list(dedup.clusters(codes_of(packed[::2]), 1)) == []


def test_many_equal_codes_are_no_pairs():
    """300,000 equal codes would be 45 thousand million pairs."""
    packed = np.zeros((300_000, 8), np.uint8)
    packed[1::3, 0] = 1
    packed[5] = 255
    assert np.bincount(dedup.components(packed, 1)).tolist() == [299_999, 1]


def test_progress_ends_at_all():
    rng, said = np.random.default_rng(0), []
    packed = rng.integers(0, 256, (3000, 8), dtype=np.uint8)
    for radius in (0, 2, 30):
        said.clear()
        dedup.components(packed, radius, lambda done, total: said.append((done, total)))
        assert said == sorted(said)
        assert said[-1] == (3000, 3000)


def test_refuses_a_negative_radius():
    with pytest.raises(BackendError, match="radius=-1"):
        list(dedup.clusters(codes_of(np.zeros((2, 1), np.uint8)), -1))


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw", "hash", "multihash"])
def test_every_type(kind):
    index = Index.build(codes_of(np.repeat(np.arange(60, dtype=np.uint8)[::2, None], 4, axis=0)), type=kind)
    assert [own.ids.tolist() for own in dedup.clusters(index, 0)] == [
        list(range(4 * n, 4 * n + 4)) for n in range(30)
    ]


def test_of_a_filtered_part():
    index = Index.build(codes_of(np.zeros((6, 2), np.uint8)))
    part = index.codes().take(filters.ids(index, [1, 4]))
    (cluster,) = dedup.clusters(part, 0)
    assert cluster.paths == ["/nowhere/1.jpg", "/nowhere/4.jpg"]
