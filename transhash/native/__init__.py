"""The compiled scan: distances of packed codes at the speed of memory. Only `transhash.hamming` looks in here.

It is optional: an installation without a C compiler has no `_scan`, and `isas` is empty. The instruction set is chosen
when it runs. A scan is over *segments*, arrays of consecutive codes, for *pairs* of a segment and a query; a flat index
is one segment, an inverted file as many as it has lists. Every answer is exact, and the same on any number of threads.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from ..results import NO_DISTANCE, NO_ID, Matches, RangeMatches

try:
    from . import _scan
except ImportError:
    _scan = None  # type: ignore[assignment]

isas: tuple[str, ...] = tuple(_scan.names()) if _scan else ()
"""The instruction sets that this machine can use, the fastest first."""

_SMALL = 1 << 20  # distances that are not worth a second thread
_ALONE = 4  # queries a thread, from which on each thread takes queries; below, each takes codes
_ALIGNED = 1 << 12  # rows: where a segment may be cut, for the bits of a mask
_MEMORY = 1 << 27  # bytes of candidates that a thread keeps at once
_CANDIDATE = 10  # bytes of one
_ID_BITS = 48  # a sort key is distance << 48 | id
_HITS = 1 << 22  # cells of a table of queries and rows made at a time

Task = Callable[[], None]


class Segments:
    """Arrays of codes with their ids, by address.

    Attributes:
        table: (s, 4) uint64: address of the codes, address of the ids or 0, rows, id of the first row without ids.
    """

    def __init__(self, codes: Sequence[NDArray[np.uint8]], ids: Sequence[NDArray[np.int64]]) -> None:
        """Take contiguous codes (n, w) uint8 with their ids (n,) int64, which stay where they are, uncopied."""
        self._kept = (codes, ids)
        addresses = [[_address(array) for array in arrays] for arrays in (codes, ids)]
        rows = [len(array) for array in codes]
        self.table = np.array([*addresses, rows, [0] * len(rows)], dtype=np.uint64).T.copy()

    @property
    def rows(self) -> NDArray[np.int64]:
        """How many codes each segment has, (s,) int64."""
        return self.table[:, 2].astype(np.int64)


def threads() -> int:
    """Return how many threads a scan may use: OMP_NUM_THREADS, as FAISS reads it, or the cores of this process."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(asked) if asked.isdecimal() and int(asked) else cores


def top_k(
    queries: NDArray[np.uint8], codes: NDArray[np.uint8], k: int, allowed: NDArray[np.bool_] | None, isa: str
) -> Matches:
    """Return the `k` nearest codes of each query; arguments as `transhash.hamming.top_k`, contiguous, k <= n."""
    mask = None if allowed is None else np.packbits(allowed, bitorder="little")
    found = Matches(*_empty(len(queries), k))
    if len(queries) >= _ALONE * threads() or len(queries) * len(codes) < _SMALL:
        table = _flat(codes, 0, len(codes))

        def search(own: slice) -> None:
            pairs = _all_pairs(own.stop - own.start)
            _nearest(isa, queries[own], table, pairs, mask, k, found.ids[own], found.distances[own])

        _run([lambda own=own: search(own) for own in _groups(len(queries), k)])
        return found
    for own in _groups(len(queries), k, 1):
        parts = [(_flat(codes, start, stop), _empty(own.stop - own.start, k)) for start, stop in _ranges(len(codes))]
        pairs = _all_pairs(own.stop - own.start)
        _run(
            [
                lambda table=table, out=out: _nearest(isa, queries[own], table, pairs, mask, k, *out)
                for table, out in parts
            ]
        )
        _merge([out for _, out in parts], found.ids[own], found.distances[own])
    return found


def top_k_lists(
    queries: NDArray[np.uint8],
    segments: Segments,
    probes: NDArray[np.int64],
    k: int,
    allowed: NDArray[np.bool_] | None,
    isa: str,
) -> Matches:
    """Return the `k` nearest codes of each query in the segments that it probes, (q, p) int64, -1 for none."""
    mask = None if allowed is None else np.packbits(allowed, bitorder="little")
    found = Matches(*_empty(len(queries), k))

    def search(own: slice, pairs: NDArray[np.uint64], ids: NDArray[np.int64], distances: NDArray[np.int32]) -> None:
        _nearest(isa, queries[own], segments.table, pairs, mask, k, ids, distances)

    if len(queries) >= _ALONE * threads():
        groups = _groups(len(queries), k)
        _run(
            [
                lambda own=own: search(own, _probed(probes[own]), found.ids[own], found.distances[own])
                for own in groups
            ]
        )
        return found
    for own in _groups(len(queries), k, 1):
        parts = [(pairs, _empty(own.stop - own.start, k)) for pairs in _shares(_probed(probes[own]), segments)]
        _run([lambda pairs=pairs, out=out: search(own, pairs, *out) for pairs, out in parts])
        _merge([out for _, out in parts], found.ids[own], found.distances[own])
    return found


def within(
    queries: NDArray[np.uint8], codes: NDArray[np.uint8], radius: int, allowed: NDArray[np.bool_] | None, isa: str
) -> RangeMatches:
    """Return all codes within a radius; arguments as `transhash.hamming.within`, contiguous."""
    pairs = _all_pairs(len(queries))
    parts = [(_flat(codes, start, stop), pairs) for start, stop in _ranges(len(codes), len(queries))]
    return _within(queries, parts, radius, allowed, isa)


def within_lists(
    queries: NDArray[np.uint8],
    segments: Segments,
    probes: NDArray[np.int64],
    radius: int,
    allowed: NDArray[np.bool_] | None,
    isa: str,
) -> RangeMatches:
    """Return all codes within a radius in the segments that each query probes, (q, p) int64, -1 for none."""
    parts = [(segments.table, pairs) for pairs in _shares(_probed(probes), segments)]
    found = _within(queries, parts, radius, allowed, isa)
    owners = np.repeat(np.arange(len(queries)), np.diff(found.offsets))
    return RangeMatches.sort(len(queries), owners, found.ids, found.distances)


def tally(
    queries: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    hits: Callable[[slice], NDArray[np.bool_]],
    isa: str,
) -> NDArray[np.int64]:
    """Count codes at each distance: (q, 2, bits + 1) int64, first what does not count as a hit, then what does.

    `hits` returns, for a slice of queries, which codes are hits: (queries, n) bool.
    """
    table = np.zeros((len(queries), 2, queries.shape[1] * 8 + 1), dtype=np.int64)

    def count(own: slice) -> None:
        _scan.tally(isa, queries.shape[1], queries[own], codes, hits(own), table[own])

    step = max(1, _HITS // max(1, len(codes)))
    _run([lambda own=own: count(own) for own in _slices(len(queries), step)])
    return table


def _within(
    queries: NDArray[np.uint8],
    parts: list[tuple[NDArray[np.uint64], NDArray[np.uint64]]],
    radius: int,
    allowed: NDArray[np.bool_] | None,
    isa: str,
) -> RangeMatches:
    """Count first, then every part knows where to write: nothing is moved or sorted afterwards."""
    width = queries.shape[1]
    radius = min(radius, width * 8)
    mask = None if allowed is None else np.packbits(allowed, bitorder="little")
    counts = np.zeros((len(parts), len(queries), radius + 1), dtype=np.int64)
    _run(
        [
            lambda part=part, own=own: _scan.count(isa, width, queries, *part, mask, radius, own)
            for part, own in zip(parts, counts, strict=True)
        ]
    )
    ordered = np.ascontiguousarray(counts.transpose(1, 2, 0)).ravel()  # query, distance, part
    starts = (np.cumsum(ordered) - ordered).reshape(len(queries), radius + 1, len(parts))
    cursors = np.ascontiguousarray(starts.transpose(2, 0, 1))
    ids = np.empty(int(ordered.sum()), dtype=np.int64)
    _run(
        [
            lambda part=part, own=own: _scan.fill(isa, width, queries, *part, mask, radius, own, ids)
            for part, own in zip(parts, cursors, strict=True)
        ]
    )
    levels = counts.sum(axis=0)
    offsets = np.zeros(len(queries) + 1, dtype=np.int64)
    np.cumsum(levels.sum(axis=1), out=offsets[1:])
    distances = np.repeat(np.tile(np.arange(radius + 1, dtype=np.int32), len(queries)), levels.ravel())
    return RangeMatches(offsets, ids, distances)


def _nearest(
    isa: str,
    queries: NDArray[np.uint8],
    table: NDArray[np.uint64],
    pairs: NDArray[np.uint64],
    mask: NDArray[np.uint8] | None,
    k: int,
    ids: NDArray[np.int64],
    distances: NDArray[np.int32],
) -> None:
    _scan.nearest(isa, queries.shape[1], queries, table, pairs, mask, k, ids, distances)


def _empty(queries: int, k: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    return np.full((queries, k), NO_ID, dtype=np.int64), np.full((queries, k), NO_DISTANCE, dtype=np.int32)


def _merge(
    parts: list[tuple[NDArray[np.int64], NDArray[np.int32]]], ids: NDArray[np.int64], distances: NDArray[np.int32]
) -> None:
    """Write the nearest of all parts, by (distance, id)."""
    found, far = (np.concatenate(side, axis=1) for side in zip(*parts, strict=True))
    keys = np.where(found == NO_ID, np.iinfo(np.int64).max, far.astype(np.int64) << _ID_BITS | found)
    keys.sort(axis=1)
    best = keys[:, : ids.shape[1]]
    filled = best != np.iinfo(np.int64).max
    ids[:] = np.where(filled, best & ((1 << _ID_BITS) - 1), NO_ID)
    distances[:] = np.where(filled, best >> _ID_BITS, NO_DISTANCE)


def _flat(codes: NDArray[np.uint8], start: int, stop: int) -> NDArray[np.uint64]:
    """Return the table of one segment: rows `start` to `stop`."""
    return np.array([[_address(codes) + start * codes.shape[1], 0, stop - start, start]], dtype=np.uint64)


def _address(array: NDArray[np.generic]) -> int:
    assert array.flags.c_contiguous
    return int(array.__array_interface__["data"][0])


def _all_pairs(queries: int) -> NDArray[np.uint64]:
    """Pair the one segment with every query."""
    return np.stack([np.zeros(queries, np.uint64), np.arange(queries, dtype=np.uint64)], axis=1)


def _probed(probes: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Pair every query with the segments that it probes, sorted by segment."""
    lists = probes.ravel()
    queries = np.repeat(np.arange(len(probes)), probes.shape[1])
    order = np.argsort(lists, kind="stable")
    order = order[np.searchsorted(lists[order], 0) :]
    return np.stack([lists[order], queries[order]], axis=1).astype(np.uint64)


def _shares(pairs: NDArray[np.uint64], segments: Segments) -> list[NDArray[np.uint64]]:
    """Divide pairs among the threads so that each has about as many codes to look at."""
    work = np.cumsum(segments.rows[pairs[:, 0].astype(np.int64)])
    if not len(work) or work[-1] < _SMALL:
        return [pairs]
    cuts = np.searchsorted(work, work[-1] * np.arange(1, threads()) / threads())
    return np.split(pairs, cuts)


def _ranges(rows: int, queries: int = 1) -> list[tuple[int, int]]:
    """Divide rows among the threads."""
    many = threads() if rows * queries >= _SMALL else 1
    step = -(-rows // many // _ALIGNED) * _ALIGNED
    return [(start, min(start + step, rows)) for start in range(0, rows, max(step, 1))]


def _groups(queries: int, k: int, shares: int | None = None) -> list[slice]:
    """Divide queries among the threads, in groups whose candidates fit memory."""
    most = max(1, _MEMORY // (_CANDIDATE * (2 * k + 256)))
    return _slices(queries, max(1, min(most, -(-queries // (shares or threads())))))


def _slices(count: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def _run(tasks: Sequence[Task]) -> None:
    """Run tasks at once; the scan lets go of the interpreter."""
    if len(tasks) < 2 or threads() == 1:
        for task in tasks:
            task()
        return
    with ThreadPoolExecutor(threads(), thread_name_prefix="transhash-scan") as pool:
        for done in [pool.submit(task) for task in tasks]:
            done.result()
