"""Near-duplicates: clusters of images whose codes are linked by steps of at most so many bits.

    for cluster in dedup.clusters(index, radius=4):
        print(index.path(cluster.ids[0]), "and", len(cluster) - 1, "like it")

The answer is exact whatever the index's type: its codes are compared, not its lists. Equal codes are put together
first; pairs of the others are looked for where they can be: two codes that differ in at most R bits agree in one of
any R + 1 parts at least (Greene, Parnas and Yao, FOCS 1994; Norouzi, Punjani and Fleet, CVPR 2012).
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from . import hamming
from .codes import UNKNOWN, Codes
from .errors import BackendError
from .index.ids import RowIds
from .index.index import Index
from .progress import Progress, silent

_QUERIES = 1 << 9  # of a tile,
_CODES = 1 << 13  # among so many: all pairs of a tile fit into memory
_EDGES = 1 << 22  # pairs kept before they are merged
_GROUP = 1 << 9  # codes that should agree in a part, on average, so that calls are few

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Cluster:
    """Two images or more, each within the radius of another of them.

    Attributes:
        ids: (m,) int64: the representative, whose file is the largest or, of equals, the first; then the others,
            ordered by (distance, id).
        distances: (m,) int32, bits in which each differs from the representative; more than the radius if others lead
            from one to the other.
        sizes: (m,) int64, bytes of the image files; -1 where they are not there.
        paths: their m paths.
    """

    ids: NDArray[np.int64]
    distances: NDArray[np.int32]
    sizes: NDArray[np.int64]
    paths: list[str]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.ids)


def clusters(images: Index | Codes, radius: int, on_rows: Progress = silent) -> Iterator[Cluster]:
    """Yield the clusters of images linked by distances <= radius, the largest first; of equals, by their first id.

    Args:
        images: an index, or codes, of which ids are positions.
        radius: bits, at least 0.
        on_rows: called with the number of different codes that were compared so far, and that of all.

    Raises BackendError for a negative radius, or if the index's type does not keep its codes.
    """
    if radius < 0:
        raise BackendError(f"radius={radius}: must not be negative")
    codes = images.codes() if isinstance(images, Index) else images
    ids = images.ids if isinstance(images, Index) else RowIds.first(len(images))
    links = components(codes.packed, radius, on_rows)
    counts = np.bincount(links)
    shared = counts[links] > 1
    rows = np.flatnonzero(shared)
    members = codes.records.take(shared)
    paths = [os.fsdecode(path) for path in members.full_paths()]
    sizes = np.fromiter(map(_size, paths), np.int64) if members.sizes is None else members.sizes
    _, first, cluster = np.unique(links[rows], return_index=True, return_inverse=True)
    rank = np.lexsort((first, -counts[links[rows[first]]])).argsort()[cluster]  # of every member's cluster
    best = np.lexsort((-sizes, rank))[_bounds(np.sort(rank))[:-1]][rank]  # its representative: the first by size
    own = codes.packed[rows]
    distances = np.bitwise_count(own ^ own[best]).sum(axis=1, dtype=np.int32)
    order = np.lexsort((distances, np.arange(len(rows)) != best, rank))
    for start, stop in pairwise(_bounds(rank[order])):
        some = order[start:stop]
        yield Cluster(ids.of(rows[some]), distances[some], sizes[some], [paths[member] for member in some])


def components(codes: NDArray[np.uint8], radius: int, on_rows: Progress = silent) -> Rows:
    """Return a number for every code (n, bits/8) uint8, (n,) int64, the same for those linked by distances <= radius.

    Memory grows with the codes, not with the pairs.
    """
    width = codes.shape[1]
    unique, place = np.unique(np.ascontiguousarray(codes).view(f"S{width}")[:, 0], return_inverse=True)
    labels = np.arange(len(unique))
    waiting: list[Rows] = []
    held = 0
    for pairs in _pairs(unique.view(np.uint8).reshape(-1, width), radius, on_rows):
        linked = labels[pairs]
        waiting.append(linked[:, linked[0] != linked[1]])
        held += waiting[-1].shape[1]
        if held > max(_EDGES, len(unique)):
            labels, waiting, held = _merged(labels, waiting), [], 0
    return _merged(labels, waiting)[place]


def _merged(labels: Rows, links: list[Rows]) -> Rows:
    """Return new numbers after linking pairs (2, m) of the old ones."""
    one, two = np.concatenate([np.empty((2, 0), np.int64), *links], axis=1)
    graph = coo_array((np.ones(len(one), np.bool_), (one, two)), shape=(len(labels), len(labels)))
    _, merged = connected_components(graph, directed=False)
    return merged[labels].astype(np.int64)


def _pairs(codes: NDArray[np.uint8], radius: int, on_rows: Progress) -> Iterator[Rows]:
    """Yield all pairs of different codes at distance <= radius, (2, m) positions, some more than once."""
    parts = _parts(codes.shape[1] * 8, radius, len(codes)) if radius else []
    for part, (start, stop) in enumerate(parts):
        values = _values(codes, start, stop)
        order = np.argsort(values, kind="stable")
        for first, end in pairwise(_bounds(values[order])):
            rows = order[first:end]
            own = codes[rows]
            for query in range(0, len(rows) - 1, _QUERIES):
                for base in range(query, len(rows), _CODES):
                    found = hamming.within(own[query : query + _QUERIES], own[base : base + _CODES], radius)
                    one = np.repeat(np.arange(query, query + len(found)), np.diff(found.offsets))
                    two = found.ids + base
                    yield rows[np.stack([one, two])[:, one < two]]
                done = part * len(codes) + first + query
                on_rows(done // len(parts), len(codes))
    on_rows(len(codes), len(codes))


def _parts(bits: int, radius: int, count: int) -> list[tuple[int, int]]:
    """Return parts, from bit to bit, in one of which near codes agree; an empty one if several would save nothing."""
    step = bits // (radius + 1)
    width = min(step, (count // _GROUP).bit_length())
    if radius + 1 >= 1 << width:
        return [(0, 0)]
    return [(place * step, place * step + width) for place in range(radius + 1)]


def _values(codes: NDArray[np.uint8], start: int, stop: int) -> Rows:
    """Return some bits of every code as a number, (n,) int64."""
    values = np.zeros(len(codes), np.int64)
    for bit in range(start, stop):
        values = values << 1 | codes[:, bit // 8] >> (7 - bit % 8) & 1
    return values


def _bounds(values: Rows) -> list[int]:
    """Return where the runs of equal values begin, and where the last one ends."""
    return [*np.flatnonzero(np.diff(values, prepend=-1)).tolist(), len(values)]


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return UNKNOWN
