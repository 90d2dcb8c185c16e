"""Divide connected images into clusters: centres, and the images within the radius of each."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .. import hamming
from .linking import bounds

_PAIRS_AT_ONCE = 1 << 22  # pairs of a centre and another image in memory at a time
_WINDOW = 16  # images that are looked at for each centre of a batch; most are in a cluster already
_SMALL = 64  # images, up to which computing all distances takes less time than preparing a search

Group = tuple[NDArray[np.int64], NDArray[np.int32]]
"""Positions, the centre first, and their distances to it."""


def grouped(
    codes: NDArray[np.uint8], linked: NDArray[np.int64], order: Sequence[int], radius: int
) -> tuple[list[Group], int]:
    """Assign every file to the first file in `order` that is within the radius.

    Args:
        codes: (n, bits/8) uint8, the code of each file.
        linked: (n,) int64, the component of each.
        order: the positions of all files.
        radius: bits.

    Returns the groups of at least two files, and how many files are the centre of a group, or alone, although others
    connect them to the first centre of their component.
    """
    ordered = np.array(order, np.int64)
    by_component = ordered[np.argsort(linked[ordered], kind="stable")]
    edges = np.array(bounds(linked[by_component]))
    starts, sizes = edges[:-1], np.diff(edges)
    groups, chained = _pairs(codes, by_component[starts[sizes == 2, None] + np.arange(2)], radius)
    for start, size in zip(starts[sizes > 2].tolist(), sizes[sizes > 2].tolist(), strict=True):
        first = True
        for group, distances in _greedy_groups(codes, by_component[start : start + size], radius):
            chained += not first
            first = False
            if len(group) > 1:
                groups.append((group, distances))
    return groups, chained


def _pairs(codes: NDArray[np.uint8], pairs: NDArray[np.int64], radius: int) -> tuple[list[Group], int]:
    """Return the result of `grouped` for components of two files, (m, 2), all at once: most components are such."""
    apart = np.bitwise_count(codes[pairs[:, 0]] ^ codes[pairs[:, 1]]).sum(axis=1, dtype=np.int32)
    near = apart <= radius  # or they are connected by another code of one of the files, which has changed
    distances = np.stack([np.zeros_like(apart), apart], axis=1)
    return list(zip(pairs[near], distances[near], strict=True)), int(np.count_nonzero(~near))


def _greedy_groups(codes: NDArray[np.uint8], waiting: NDArray[np.int64], radius: int) -> Iterator[Group]:
    """Yield the first of the waiting positions with all others within the radius, then repeat with the rest."""
    while len(waiting):
        pool, free = codes[waiting], np.ones(len(waiting), np.bool_)
        batch = max(1, _PAIRS_AT_ONCE // len(waiting))
        left, start = len(waiting), 0
        while start < len(waiting) and 2 * left >= len(waiting):  # then it pays to drop the others
            stop = start + _WINDOW * batch
            centres = start + np.flatnonzero(free[start:stop])[:batch]
            neighbours = _neighbours(pool[centres], pool, radius)
            for number, centre in enumerate(centres):
                if free[centre]:
                    near, distances = neighbours(number)
                    taken = free[near] & (near != centre)
                    members = near[taken]
                    free[members] = free[centre] = False
                    left -= 1 + len(members)
                    group = np.concatenate([[centre], members])
                    yield waiting[group], np.concatenate([[0], distances[taken]]).astype(np.int32)
            start = centres[-1] + 1 if len(centres) == batch else stop
        waiting = waiting[free]


def _neighbours(
    centres: NDArray[np.uint8], pool: NDArray[np.uint8], radius: int
) -> Callable[[int], tuple[NDArray[np.int64], NDArray[np.int32]]]:
    """Return a function of the number of a centre: all codes within the radius, by (distance, position)."""
    if len(pool) > _SMALL:
        return hamming.within(centres, pool, radius).row
    distances = hamming.distances(centres, pool).astype(np.int32)

    def near(centre: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        ids = np.flatnonzero(distances[centre] <= radius)
        ids = ids[np.argsort(distances[centre, ids], kind="stable")]
        return ids, distances[centre, ids]

    return near
