"""The compiled scan: computes distances of packed codes at memory bandwidth. Only `transhash.hamming` uses it.

`mih` is the compiled part of `transhash.multi_index`, and `join` that of `transhash.duplicates`.

It is optional: without a C compiler at installation there is no `_scan`, and `isas` is empty. The instruction set is
chosen at run time. A scan compares the queries with *segments*, arrays of consecutive codes, as listed by *pairs* of
a segment and a query. A flat index is one segment; an inverted file has one per list. Results are exact, and equal
for any number of threads.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..results import NO_DISTANCE, NO_ID, Nearest, Within
from ..system.threads import threads as threads

try:
    from . import _scan
except ImportError:
    _scan = None  # type: ignore[assignment]

isas: tuple[str, ...] = tuple(_scan.names()) if _scan else ()
"""The instruction sets that this machine can use, the fastest first."""

_SMALL = 1 << 20  # distances; computing fewer takes less time than starting a second thread
_QUERIES_PER_THREAD = 4  # with at least this many, threads divide the queries; with fewer, the codes
_ROW_ALIGNMENT = 1 << 12  # rows; codes are cut at multiples of this, so that the mask of a part starts at a byte
_ID_BITS = 48  # a sort key is distance << 48 | id
_FEW = 1 << 12  # matches of a part of a radius search
_MASK_CELLS = 1 << 22  # booleans in a table of queries and rows

# The limits on the number of queries that are scanned together (`_groups`).
_CANDIDATE_BYTES = 8  # bytes of a candidate: id and distance
_CACHE = 1 << 23  # bytes of candidates: written in order, they need not fit into the second-level cache
_READ_FOR = 64  # queries per pass over the codes, even if their candidates exceed the cache
_BYTES_PER_THREAD = 1 << 27  # maximum bytes of candidates per thread

Part = tuple[NDArray[np.uint64], NDArray[np.uint64]]
"""The input of one call: a table of segments, and pairs (m, 2) of a segment and a query, sorted by segment."""

Results = tuple[NDArray[np.int64], NDArray[np.int32]]
"""Ids and distances, (q, k)."""


class Segments:
    """Arrays of codes with their ids, by address.

    Attributes:
        table: (s, 5) uint64: address of the codes, address of the ids or 0, rows, id of the first row without ids,
            whether the ids ascend.
        rows: how many codes each segment has, (s,) int64.
        mean: how many codes a segment has on average.
    """

    def __init__(self, codes: Sequence[NDArray[np.uint8]], ids: Sequence[NDArray[np.int64]]) -> None:
        """Take contiguous codes (n, w) uint8 with their ids (n,) int64, without copying them."""
        self._arrays = (codes, ids)  # keeps the addresses valid
        addresses = [[_address(array) for array in arrays] for arrays in (codes, ids)]
        self.rows = np.array([len(array) for array in codes])
        self.mean = float(self.rows.mean())
        ascending = [bool((array[1:] > array[:-1]).all()) for array in ids]
        self.table = np.array([*addresses, self.rows, np.zeros_like(self.rows), ascending], dtype=np.uint64).T.copy()


def top_k(
    queries: NDArray[np.uint8], codes: NDArray[np.uint8], k: int, allowed: NDArray[np.bool_] | None, isa: str
) -> Nearest:
    """Return the `k` nearest codes of each query; arguments as `transhash.hamming.top_k`, contiguous, k <= n."""
    if len(queries) <= _READ_FOR and len(queries) * len(codes) < _SMALL:
        return _at_once(queries, _rows(codes, len(queries), 1)[0], k, allowed, isa)
    return _nearest(queries, k, allowed, isa, lambda group, shares: _rows(codes, group.stop - group.start, shares))


def top_k_lists(
    queries: NDArray[np.uint8],
    segments: Segments,
    probes: NDArray[np.int64],
    k: int,
    allowed: NDArray[np.bool_] | None,
    isa: str,
) -> Nearest:
    """Return the `k` nearest codes of each query in the segments that it probes, (q, p) int64, -1 for none."""
    if len(queries) <= _READ_FOR and segments.rows[probes].sum() < _SMALL:
        return _at_once(queries, _probed(segments, probes, 1)[0], k, allowed, isa)
    return _nearest(queries, k, allowed, isa, lambda group, shares: _probed(segments, probes[group], shares))


def top_k_probed(
    queries: NDArray[np.uint8],
    segments: Segments,
    centroids: NDArray[np.uint8],
    probes: int,
    k: int,
    allowed: NDArray[np.bool_] | None,
    isa: str,
) -> Nearest:
    """Return the `k` nearest codes of each query in the segments with the `probes` nearest centroids (s, w)."""
    count, width = queries.shape
    if count <= _READ_FOR and count * (probes * segments.mean + len(centroids)) < _SMALL:
        ids, distances, mask = np.empty((count, k), np.int64), np.empty((count, k), np.int32), _mask(allowed)
        _scan.nearest_lists(isa, width, queries, segments.table, centroids, probes, mask, k, ids, distances)
        return Nearest(ids, distances)
    shares = threads()
    if count < _QUERIES_PER_THREAD * shares > _QUERIES_PER_THREAD:
        chosen = top_k(queries, centroids, probes, None, isa).ids
        return top_k_lists(queries, segments, chosen, k, allowed, isa)
    (ids, distances), mask = _empty(count, k), _mask(allowed)

    def search(group: slice) -> None:
        asked, results = queries[group], (ids[group], distances[group])
        _scan.nearest_lists(isa, width, asked, segments.table, centroids, probes, mask, k, *results)

    run([partial(search, group) for group in _groups(count, max(k, probes), shares)])
    return Nearest(ids, distances)


def within(
    queries: NDArray[np.uint8], codes: NDArray[np.uint8], radius: int, allowed: NDArray[np.bool_] | None, isa: str
) -> Within:
    """Return all codes within a radius; arguments as `transhash.hamming.within`, contiguous."""
    return _within(queries, _rows(codes, len(queries), threads()), radius, allowed, isa)


def within_lists(
    queries: NDArray[np.uint8],
    segments: Segments,
    probes: NDArray[np.int64],
    radius: int,
    allowed: NDArray[np.bool_] | None,
    isa: str,
) -> Within:
    """Return all codes within a radius in the segments that each query probes, (q, p) int64, -1 for none."""
    unsorted = _within(queries, _probed(segments, probes, threads()), radius, allowed, isa)
    owners = np.repeat(np.arange(len(queries)), np.diff(unsorted.offsets))
    return Within.sort(len(queries), owners, unsorted.ids, unsorted.distances)


def tally_all(queries: NDArray[np.uint8], codes: NDArray[np.uint8], isa: str) -> NDArray[np.int64]:
    """Count codes at each distance: (q, bits + 1) int64."""
    table = np.zeros((len(queries), queries.shape[1] * 8 + 1), dtype=np.int64)
    shares = threads() if len(queries) * len(codes) >= _SMALL else 1
    groups = _slices(len(queries), max(1, -(-len(queries) // shares)))
    run([partial(_scan.tally, isa, queries.shape[1], queries[group], codes, None, table[group]) for group in groups])
    return table


def tally(
    queries: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    hits: Callable[[slice], NDArray[np.bool_]],
    isa: str,
) -> NDArray[np.int64]:
    """Count codes at each distance: (q, 2, bits + 1) int64, first the misses, then the hits.

    `hits` returns, for a slice of queries, which codes are hits: (queries, n) bool.
    """
    table = np.zeros((len(queries), 2, queries.shape[1] * 8 + 1), dtype=np.int64)

    def count(group: slice) -> None:
        _scan.tally(isa, queries.shape[1], queries[group], codes, hits(group), table[group])

    step = max(1, _MASK_CELLS // max(1, len(codes)))
    run([partial(count, group) for group in _slices(len(queries), step)])
    return table


def _at_once(queries: NDArray[np.uint8], part: Part, k: int, allowed: NDArray[np.bool_] | None, isa: str) -> Nearest:
    """Search in one part: dividing so little work would take longer than doing it."""
    results = _empty(len(queries), k)
    _scan.nearest(isa, queries.shape[1], queries, *part, _mask(allowed), k, *results)
    return Nearest(*results)


def _nearest(
    queries: NDArray[np.uint8],
    k: int,
    allowed: NDArray[np.bool_] | None,
    isa: str,
    parts_of: Callable[[slice, int], list[Part]],
) -> Nearest:
    """Search in parallel: threads divide the queries if there are many, else the codes.

    `parts_of` returns the scan for a slice of the queries, in at most the given number of parts.
    """
    mask, shares = _mask(allowed), threads()
    results = _empty(len(queries), k)
    many = len(queries) >= _QUERIES_PER_THREAD * shares
    scans, groups = [], []
    for group in _groups(len(queries), k, shares if many else 1):
        parts, whole = parts_of(group, 1 if many else shares), (results[0][group], results[1][group])
        outs = [whole] if len(parts) == 1 else [_empty(group.stop - group.start, k) for _ in parts]
        scans += [
            partial(_scan.nearest, isa, queries.shape[1], queries[group], *part, mask, k, *out)
            for part, out in zip(parts, outs, strict=True)
        ]
        groups.append((whole, outs))
    run(scans)
    for (ids, distances), outs in groups:
        if len(outs) > 1:
            ids[:], distances[:] = _merged(outs, k)
    return Nearest(*results)


def _within(
    queries: NDArray[np.uint8], parts: list[Part], radius: int, allowed: NDArray[np.bool_] | None, isa: str
) -> Within:
    """Scan once if there are few matches, which are sorted then.

    Otherwise scan twice: count the matches of each part, query and distance, then write each id to its final
    position. The cumulative counts are the output positions of every part for each query and distance, so the parts
    write in parallel and nothing is sorted.
    """
    radius, mask = min(radius, queries.shape[1] * 8), _mask(allowed)
    arguments = [(isa, queries.shape[1], queries, *part, mask, radius) for part in parts]
    few = _few_within(len(queries), radius, arguments)
    if few is not None:
        return few
    counts = np.zeros((len(parts), len(queries), radius + 1), dtype=np.int64)
    run([partial(_scan.count, *part, count) for part, count in zip(arguments, counts, strict=True)])
    ordered = np.ascontiguousarray(counts.transpose(1, 2, 0)).ravel()  # query, distance, part
    starts = (np.cumsum(ordered) - ordered).reshape(len(queries), radius + 1, len(parts))
    cursors = np.ascontiguousarray(starts.transpose(2, 0, 1))
    ids = np.empty(int(ordered.sum()), dtype=np.int64)
    run([partial(_scan.fill, *part, cursor, ids) for part, cursor in zip(arguments, cursors, strict=True)])
    levels = counts.sum(axis=0)
    offsets = np.zeros(len(queries) + 1, dtype=np.int64)
    np.cumsum(levels.sum(axis=1), out=offsets[1:])
    distances = np.repeat(np.tile(np.arange(radius + 1, dtype=np.int32), len(queries)), levels.ravel())
    return Within(offsets, ids, distances)


def _few_within(queries: int, radius: int, arguments: list[Any]) -> Within | None:
    """Return the matches of all parts of a scan, or None if they are many."""
    matches = np.empty((len(arguments), _FEW, 2), np.int64)
    found = [0] * len(arguments)

    def search(part: int) -> None:
        found[part] = _scan.gather(*(*arguments[part], matches[part]))

    run([partial(search, part) for part in range(len(arguments))])
    if max(found, default=0) > _FEW:
        return None
    few = [part[:size] for part, size in zip(matches, found, strict=True)]
    cells, ids = np.concatenate([np.empty((0, 2), np.int64), *few]).T
    order = np.argsort(cells, kind="stable")  # ids ascend where the codes have none
    owners, distances = np.divmod(cells[order], radius + 1)
    offsets = np.searchsorted(owners, np.arange(queries + 1))
    return Within(offsets, ids[order], distances.astype(np.int32))


def _mask(allowed: NDArray[np.bool_] | None) -> NDArray[np.uint8] | None:
    return None if allowed is None else np.packbits(allowed, bitorder="little")


def _empty(queries: int, k: int) -> Results:
    return np.empty((queries, k), np.int64), np.empty((queries, k), np.int32)


def _merged(parts: list[Results], k: int) -> Results:
    """Return the `k` nearest of all parts, by (distance, id)."""
    none = np.iinfo(np.int64).max
    ids, distances = (np.concatenate(side, axis=1) for side in zip(*parts, strict=True))
    # One sort by a key that combines distance and id; empty entries get the largest key.
    keys = np.where(ids == NO_ID, none, distances.astype(np.int64) << _ID_BITS | ids)
    keys.sort(axis=1)
    best = keys[:, :k]
    return (
        np.where(best == none, NO_ID, best & ((1 << _ID_BITS) - 1)),
        np.where(best == none, NO_DISTANCE, best >> _ID_BITS).astype(np.int32),
    )


def _address(array: NDArray[np.generic]) -> int:
    assert array.flags.c_contiguous
    return int(array.__array_interface__["data"][0])


def _rows(codes: NDArray[np.uint8], queries: int, shares: int) -> list[Part]:
    """Scan all rows for all queries, in shares of about equal size."""
    pairs = np.zeros((queries, 2), np.uint64)
    pairs[:, 1] = np.arange(queries)
    if queries * len(codes) < _SMALL:
        shares = 1
    step = max(1, -(-len(codes) // shares // _ROW_ALIGNMENT)) * _ROW_ALIGNMENT
    start, width = _address(codes), codes.shape[1]
    return [
        (np.array([[start + rows.start * width, 0, rows.stop - rows.start, rows.start, 0]], dtype=np.uint64), pairs)
        for rows in _slices(len(codes), step)
    ]


def _probed(segments: Segments, probes: NDArray[np.int64], shares: int) -> list[Part]:
    """Scan the segments that each query probes, in shares of about equal size."""
    lists, most = probes.ravel(), probes.shape[1]
    pairs = np.empty((len(lists), 2), np.uint64)
    if len(probes) == 1:
        pairs[:, 0], pairs[:, 1] = lists, 0
    else:
        # Sort pairs by segment, so that a list is read once for all queries that probe it. The nearest list of every
        # query comes first, because it gives a limit that rejects most codes of the other lists.
        order = np.argsort(lists + (np.arange(len(lists)) % most > 0) * len(segments.rows), kind="stable")
        pairs[:, 0], pairs[:, 1] = lists[order], order // most
    if lists.min(initial=0) < 0:
        pairs = pairs[pairs[:, 0] < len(segments.rows)]
    if shares == 1:
        return [(segments.table, pairs)]
    work = np.cumsum(segments.rows[pairs[:, 0].astype(np.int64)])
    if not len(work) or work[-1] < _SMALL:
        shares = 1
    cuts = [int(np.searchsorted(work, work[-1] * share / shares)) for share in range(1, shares)]
    return [(segments.table, part) for part in np.split(pairs, cuts)]


def _groups(queries: int, k: int, shares: int) -> list[slice]:
    """Divide queries into at least `shares` groups, small enough for the limits above."""
    size = _CANDIDATE_BYTES * (2 * k + 256)
    most = max(1, min(_BYTES_PER_THREAD // size, max(_CACHE // size, _READ_FOR)))
    count = max(1, min(queries, shares), -(-queries // most))
    return _slices(queries, max(1, -(-queries // count)))


def _slices(count: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def run(tasks: Sequence[Callable[[], object]]) -> None:
    """Run tasks in threads; compiled functions release the interpreter's lock."""
    if len(tasks) < 2 or threads() == 1:
        for task in tasks:
            task()
        return
    with ThreadPoolExecutor(threads(), thread_name_prefix="transhash-scan") as pool:
        for done in [pool.submit(task) for task in tasks]:
            done.result()
