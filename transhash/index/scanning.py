"""Exact search over codes that arrive in blocks."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from .. import hamming
from ..results import NO_DISTANCE, NO_ID, Nearest, Within

Block = tuple[NDArray[np.int64], NDArray[np.uint8]]
"""Ids (n,) and packed codes (n, bits/8) of rows, in any order."""


def nearest(blocks: Iterable[Block], queries: NDArray[np.uint8], k: int) -> Nearest:
    """Return the k nearest rows of queries (q, bits/8) by (distance, id); fewer if there are fewer rows."""
    best = Nearest(np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.int32))
    for block_ids, codes in blocks:
        if len(block_ids):
            order = np.argsort(block_ids)
            found = hamming.top_k(queries, np.ascontiguousarray(codes[order]), min(k, len(block_ids)))
            nearer = Nearest(block_ids[order][found.ids], found.distances)
            best = merged(best, nearer, k)
    return best


def within(blocks: Iterable[Block], queries: NDArray[np.uint8], radius: int) -> Within:
    """Return every row at distance <= radius of queries (q, bits/8), by (distance, id)."""
    owners, ids, distances = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    for block_ids, codes in blocks:
        if len(block_ids):
            found = hamming.within(queries, np.ascontiguousarray(codes), radius)
            owners.append(np.repeat(np.arange(len(queries)), np.diff(found.offsets)))
            ids.append(block_ids[found.ids])
            distances.append(found.distances)
    return Within.sort(len(queries), np.concatenate(owners), np.concatenate(ids), np.concatenate(distances))


def padded(found: Sequence[tuple[NDArray[np.int64], NDArray[np.int32]]]) -> Nearest:
    """Return the ids (m,) and distances (m,) of each query as padded arrays (q, k)."""
    width = max((len(ids) for ids, _ in found), default=0)
    ids = np.full((len(found), width), NO_ID, np.int64)
    distances = np.full((len(found), width), NO_DISTANCE, np.int32)
    for row, (found_ids, found_distances) in enumerate(found):
        ids[row, : len(found_ids)], distances[row, : len(found_ids)] = found_ids, found_distances
    return Nearest(ids, distances)


def merged(one: Nearest, other: Nearest, k: int) -> Nearest:
    """Return the first k of two lists for each query, by (distance, id)."""
    ids = np.concatenate([one.ids, other.ids], axis=1)
    distances = np.concatenate([one.distances, other.distances], axis=1)
    order = np.lexsort((ids, distances), axis=1)[:, :k]
    return Nearest(np.take_along_axis(ids, order, 1), np.take_along_axis(distances, order, 1))
