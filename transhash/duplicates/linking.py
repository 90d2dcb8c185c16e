"""Connected components of codes, where codes at most R bits apart are connected.

Equal codes are merged first. The others are connected by the compiled scan, part by part as `planning` says; without
it, numpy compares the codes that are equal in one of R + 1 parts.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .. import hamming
from ..native import join
from ..system.progress import Progress, silent
from .planning import planned

_LARGE_TREE = 8  # codes in a tree that holds at least 1 / _LARGE_TREE of all codes are not compared with each other
_QUERIES = 1 << 9  # rows of a tile of pairs
_CODES = 1 << 13  # columns of a tile of pairs, which all fit into memory
_PAIRS_HELD = 1 << 22  # pairs collected before they are merged
_CODES_PER_GROUP = 1 << 9  # average number of codes that share a part: large enough to need few calls

Rows = NDArray[np.int64]


def components(codes: NDArray[np.uint8], radius: int, on_rows: Progress = silent) -> Rows:
    """Return the component of every code, (n,) int64: codes connected by steps of at most `radius` bits share one.

    Memory grows with the number of codes, not of pairs.

    Args:
        codes: (n, bits/8) uint8.
        radius: bits, at least 0.
        on_rows: called with the number of distinct codes compared so far, and the total.
    """
    distinct, place = _distinct(np.ascontiguousarray(codes))
    radius = min(radius, 8 * codes.shape[1])
    connect = connected if hamming.isa and len(distinct) <= join.MOST_CODES else connected_in_groups
    labels = connect(distinct, radius, on_rows) if radius else np.arange(len(distinct))
    on_rows(len(distinct), len(distinct))
    return labels[place]


def _distinct(codes: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Rows]:
    """Return the distinct codes, and which of them each code is, (n,) int64."""
    count, width = codes.shape
    first = np.zeros((count, 8), np.uint8)
    first[:, : min(8, width)] = codes[:, :8]
    keys = first.view(">u8")[:, 0].astype(np.uint64)  # ordered as the codes are
    order = np.argsort(keys)
    keys = keys[order]
    begins = np.append(True, keys[1:] != keys[:-1])[:count]
    if width > 8:
        tied = ~(begins & np.append(begins[1:], True)[:count])
        rows = order[tied]
        order[tied] = rows[np.argsort(codes[rows].view(f"S{width}")[:, 0])]
        begins[1:] = (codes[order[1:]] != codes[order[:-1]]).any(axis=1)
    place = np.empty(count, np.int64)
    place[order] = np.cumsum(begins) - 1
    return codes[order[begins]], place


def connected(codes: NDArray[np.uint8], radius: int, on_rows: Progress = silent) -> Rows:
    """Return the component of every code, (n,) int64, by the compiled join; the codes (n, w) uint8 are distinct."""
    parents, parts = np.arange(len(codes), dtype=np.uint32), planned(codes, radius)
    for number, part in enumerate(parts):

        def on_codes(done: int, before: int = number * len(codes)) -> None:
            on_rows((before + done) // len(parts), len(codes))

        ordered = join.Sorted.by(codes, part.key, _largest(parents) if number else None)
        join.link(ordered, part.flips, radius, parents, hamming.isa, on_codes)
    roots = _roots(parents)
    return (np.cumsum(roots == np.arange(len(codes))) - 1)[roots]


def _roots(parents: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the root of each code's tree."""
    roots = parents
    while (roots != (above := roots[roots])).any():
        roots = above
    return roots


def _largest(parents: NDArray[np.uint32]) -> NDArray[np.bool_] | None:
    """Return which codes are in the largest tree, (n,), or None if that tree is small."""
    if 2 * np.count_nonzero(parents == np.arange(len(parents))) > len(parents):
        return None
    roots = _roots(parents)
    sizes = np.bincount(roots)
    return roots == sizes.argmax() if _LARGE_TREE * sizes.max() > len(parents) else None


def connected_in_groups(codes: NDArray[np.uint8], radius: int, on_rows: Progress = silent) -> Rows:
    """Return the same, from all pairs within the radius among codes that are equal in one of R + 1 parts."""
    labels = np.arange(len(codes))
    waiting: list[Rows] = []
    held = 0
    for pairs in _pairs(codes, radius, on_rows):
        linked = labels[pairs]
        waiting.append(linked[:, linked[0] != linked[1]])
        held += waiting[-1].shape[1]
        if held > max(_PAIRS_HELD, len(codes)):
            labels, waiting, held = _merged(labels, waiting), [], 0
    return _merged(labels, waiting)


def _merged(labels: Rows, links: list[Rows]) -> Rows:
    """Return the component numbers after connecting pairs (2, m) of the old ones."""
    one, two = np.concatenate([np.empty((2, 0), np.int64), *links], axis=1)
    graph = coo_array((np.ones(len(one), np.bool_), (one, two)), shape=(len(labels), len(labels)))
    _, merged = connected_components(graph, directed=False)
    return merged[labels].astype(np.int64)


def _pairs(codes: NDArray[np.uint8], radius: int, on_rows: Progress) -> Iterator[Rows]:
    """Yield all pairs of distinct codes at distance <= radius, (2, m) positions; a pair can appear several times."""
    parts = _parts(codes.shape[1] * 8, radius, len(codes))
    for part, (start, stop) in enumerate(parts):
        values = _values(codes, start, stop)
        order = np.argsort(values, kind="stable")
        for first, end in pairwise(bounds(values[order])):
            rows = order[first:end]
            group = codes[rows]
            for query in range(0, len(rows) - 1, _QUERIES):
                for base in range(query, len(rows), _CODES):
                    near = hamming.within(group[query : query + _QUERIES], group[base : base + _CODES], radius)
                    one = np.repeat(np.arange(query, query + len(near)), np.diff(near.offsets))
                    two = near.ids + base
                    yield rows[np.stack([one, two])[:, one < two]]
                done = part * len(codes) + first + query
                on_rows(done // len(parts), len(codes))


def _parts(bits: int, radius: int, count: int) -> list[tuple[int, int]]:
    """Return bit ranges (first, end), in one of which near codes are equal; an empty range compares all codes."""
    step = bits // (radius + 1)
    width = min(step, (count // _CODES_PER_GROUP).bit_length())
    if radius + 1 >= 1 << width:
        return [(0, 0)]
    return [(part * step, part * step + width) for part in range(radius + 1)]


def _values(codes: NDArray[np.uint8], start: int, stop: int) -> Rows:
    """Return bits `start` to `stop` of every code as a number, (n,) int64."""
    values = np.zeros(len(codes), np.int64)
    for bit in range(start, stop):
        values = values << 1 | codes[:, bit // 8] >> (7 - bit % 8) & 1
    return values


def bounds(values: Rows) -> list[int]:
    """Return where each run of equal values begins, and where the last one ends."""
    return [*np.flatnonzero(np.diff(values, prepend=-1)).tolist(), len(values)]
