"""The lists of indexes of type ivf: how many, and k-means of codes, where the mean is the majority of each bit.

FAISS clusters codes as vectors of floats, in a time that grows with the square of the number of lists, and for many
becomes hours. Compared as they are they take minutes. With some hundred lists floats find better ones, with thousands
these are about as good.
"""

import numpy as np
from numpy.typing import NDArray

from .. import hamming
from ..errors import BackendError

POINTS_PER_LIST = 64  # that centroids are trained on
_CODES_PER_LIST = 39  # at least, by default: what FAISS asks for
_LEAST_PROBES = 8
_ROUNDS = 8
_BITS = 1 << 26  # that are summed at once, a byte each


def plan(count: int, nlist: int | None = None, nprobe: int | None = None) -> tuple[int, int]:
    """Return how many lists an index of `count` codes has, and how many of them a search looks into.

    By default 4·√n lists, at most n/39, of which one in 32 is probed, but 8 or more.

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
    chosen = rng.choice(len(codes), min(len(codes), nlist * POINTS_PER_LIST), replace=False)
    points = codes[np.sort(chosen)]
    centres = points[rng.choice(len(points), nlist, replace=False)]
    for _ in range(_ROUNDS):
        found = hamming.top_k(points, centres, 1)
        lists, distances = found.ids[:, 0], found.distances[:, 0]
        centres = _majorities(points, lists, centres)
        empty = np.flatnonzero(np.bincount(lists, minlength=nlist) == 0)
        furthest = np.argpartition(distances, -len(empty))[-len(empty) :] if len(empty) else empty
        centres[empty] = points[furthest]  # a list that nothing is near to starts where the lists fit worst
    return centres


def _majorities(points: NDArray[np.uint8], lists: NDArray[np.int64], centres: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the centroids, bit by bit what most points of each list have; where they are even, what it was."""
    bits = points.shape[1] * 8
    order = np.argsort(lists, kind="stable")
    balance = np.unpackbits(centres, axis=1).astype(np.int32) * 2 - 1  # decides where points are even
    step = max(1, _BITS // bits)
    for start in range(0, len(points), step):
        rows = order[start : start + step]
        present, firsts = np.unique(lists[rows], return_index=True)
        ones = np.add.reduceat(np.unpackbits(points[rows], axis=1), firsts, axis=0, dtype=np.int32)
        sizes = np.diff(firsts, append=len(rows))
        balance[present] += 2 * (2 * ones - sizes[:, None].astype(np.int32))
    return np.packbits(balance > 0, axis=1)
