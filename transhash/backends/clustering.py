"""Clustering for indexes of type ivf: the number of lists, and k-means of codes by majority vote of each bit.

FAISS clusters codes as float vectors, in time quadratic in the number of lists: hours for many lists. Clustering the
codes themselves takes minutes. The lists are worse than those of FAISS for a few hundred, and about as good for
thousands.
"""

import numpy as np
from numpy.typing import NDArray

from .. import hamming
from ..errors import BackendError

POINTS_PER_LIST = 64  # training points per centroid
_CODES_PER_LIST = 39  # minimum by default, as in FAISS
_LEAST_PROBES = 8
_ROUNDS = 8
_HALF_BYTES = np.unpackbits(np.arange(16, dtype=np.uint8)[:, None], axis=1)[:, 4:].astype(np.int64)  # (16, 4) bits


def plan(count: int, nlist: int | None = None, nprobe: int | None = None) -> tuple[int, int]:
    """Return the number of lists of an index of `count` codes, and how many of them a search probes.

    By default there are 4·√n lists, at most n/39, of which 1/32, but at least 8, are probed.

    Raises BackendError for more lists than codes.
    """
    if nlist is None:
        nlist = max(1, min(int(4 * count**0.5), count // _CODES_PER_LIST))
    if nlist > count:
        raise BackendError(f"nlist={nlist}: more lists than the {count} codes; choose fewer")
    if nprobe is None:
        nprobe = max(_LEAST_PROBES, -(-nlist // 32))
    return nlist, min(nprobe, nlist)


def centroids(codes: NDArray[np.uint8], nlist: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return `nlist` centroids (nlist, bits/8) uint8 of codes (n, bits/8) uint8, n >= nlist."""
    rng = np.random.default_rng(seed)
    sample = rng.choice(len(codes), min(len(codes), nlist * POINTS_PER_LIST), replace=False)
    points = codes[np.sort(sample)]
    centres = points[rng.choice(len(points), nlist, replace=False)]
    for _ in range(_ROUNDS):
        nearest = hamming.top_k(points, centres, 1)
        lists, distances = nearest.ids[:, 0], nearest.distances[:, 0]
        moved = _majorities(points, lists, centres)
        empty = np.flatnonzero(np.bincount(lists, minlength=nlist) == 0)
        furthest = np.argpartition(distances, -len(empty))[-len(empty) :] if len(empty) else empty
        moved[empty] = points[furthest]  # an empty list restarts at a point far from its centroid
        if np.array_equal(moved, centres):  # at once with uniformly random codes: each is the majority of its list
            break
        centres = moved
    return centres


def _majorities(points: NDArray[np.uint8], lists: NDArray[np.int64], centres: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return new centroids: the majority of each bit among a list's points; in a tie, the bit of the old centroid."""
    nlist, sizes = len(centres), np.bincount(lists, minlength=len(centres))
    balance = 2 * np.unpackbits(centres, axis=1).astype(np.int64) - 1 - 2 * sizes[:, None]  # 1 or -1 breaks ties
    for column in range(2 * points.shape[1]):  # counting half bytes is faster than summing bits
        byte = points[:, column // 2]
        halves = byte & 15 if column % 2 else byte >> 4
        counts = np.bincount(lists * 16 + halves, minlength=nlist * 16).reshape(nlist, 16)
        balance[:, 4 * column : 4 * column + 4] += 4 * (counts @ _HALF_BYTES)
    return np.packbits(balance > 0, axis=1)
