"""The compiled hash tables of `transhash.multi_index`, which checks the arguments."""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from . import _scan, run, threads

MANY = 8  # with at least this many queries, threads divide them

Tables = tuple[NDArray[np.uint8], NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]]
"""Codes, and the bits, offsets and rows of their tables, as `transhash.multi_index.Tables` has them."""

Mask = NDArray[np.bool_]


def build(codes: NDArray[np.uint8], bits: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return the offsets and rows of the tables of contiguous codes (n, w) uint8."""
    width, count, others = codes.shape[1], len(codes), len(bits) - 1
    starts = np.concatenate([[0], np.cumsum((1 << bits.astype(np.int64)) + 1)])
    offsets, first = np.empty(starts[-1], np.uint32), np.empty(count, np.uint32)
    distinct = _scan.mih_sort(width, codes, bits, offsets[: starts[1]], first)
    rows = np.empty(count + others * distinct, np.uint32)
    rows[:count] = first

    def fill(table: int, out: NDArray[np.uint32]) -> None:
        _scan.mih_fill(width, codes, bits, first, table, offsets[starts[table] : starts[table + 1]], out)

    parts = rows[count:].reshape(others, distinct)
    run([partial(fill, table, out) for table, out in enumerate(parts, 1)])
    return offsets, rows


def nearest(
    tables: Tables,
    queries: NDArray[np.uint8],
    k: int,
    allowed: Mask | None,
    count: int,
    budget: tuple[float, float],
    isa: str,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Return the ids and distances (q, k) of the nearest codes, and what each search has cost, (q,), in cache misses.

    A search ends without a result, and its cost is negative, if it is likely to cost more than the first number of
    `budget`; up to the second are always spent. `count` codes are allowed.
    """
    ids, distances = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.int32)
    costs = np.empty(len(queries))

    def search(part: slice) -> None:
        outs = ids[part], distances[part], costs[part]
        _scan.mih_nearest(isa, queries.shape[1], *tables, allowed, queries[part], k, count, *budget, *outs)

    _divide(search, len(queries))
    return ids, distances, costs


def within(
    tables: Tables, queries: NDArray[np.uint8], radius: int, allowed: Mask | None, budget: float, isa: str
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Return how many codes are within a radius of each query, (q,), and distance << 32 | id of all of them, sorted.

    The number is -1 where the search is likely to cost more than `budget` cache misses.
    """
    counts = np.empty(len(queries), np.int64)
    keys: dict[int, NDArray[np.uint64]] = {}

    def search(part: slice) -> None:
        found = _scan.mih_within(isa, queries.shape[1], *tables, allowed, queries[part], radius, budget, counts[part])
        keys[part.start] = np.frombuffer(found, np.uint64)

    _divide(search, len(queries))
    return counts, np.concatenate([np.empty(0, np.uint64), *(keys[start] for start in sorted(keys))])


def _divide(search: Callable[[slice], None], queries: int) -> None:
    """Search for parts of the queries in threads: more parts than threads, because some take longer."""
    step = queries if queries < MANY else -(-queries // (4 * threads()))
    run([partial(search, slice(start, start + step)) for start in range(0, queries, max(1, step))])
