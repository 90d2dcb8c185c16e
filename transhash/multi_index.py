"""Multi-index hashing: the exact answers of a scan, from hash tables over parts of the codes.

If two codes differ in d bits, then in one of m parts they differ in at most d/m bits. So all near codes are in the
buckets near the query's own in one of m tables (Norouzi, Punjani and Fleet, CVPR 2012). Where a search would visit so
many buckets that comparing all codes is cheaper, all codes are compared.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import comb
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from . import hamming, native
from .native import mih
from .results import Nearest, Within

MOST_ROWS = 1 << 30

FILES = ("offsets.npy", "rows.npy")

_REPEATED, _NEXT, _ROW = (np.uint32(bits) for bits in (1 << 31, 1 << 30, MOST_ROWS - 1))
_MOST_KEY_BITS = 28
_LEAST_KEY_BITS = 8  # so there are at most as many tables as bytes in a code
_CROWDED_RATIO = 1.1  # mean square of the rows in a bucket, relative to that of uniformly random codes
_TRIAL_SHARE = 1 / 24  # part of the budget that is always spent, unless codes seem to be uniformly random
_BUCKETS_PER_CODE = 2  # in all tables together, at most

# The cost of comparing one word of 64 bits, in cache misses of a search by tables: for a single query by one thread,
# if the words are in memory or few enough to stay in the last-level cache, and for one of many queries.
_COMPARED = 0.03
_COMPARED_CACHED = 0.016
_COMPARED_TOGETHER = 0.006
_FEW_SHORT, _FEW_LONG = 0.75, 0.5  # the cost of one of a few queries, relative to a single one: of a word, of more
_CACHED = 1 << 21  # words
# The share of the cost of comparing all codes that a search by tables may cost, and one of a batch.
_SPENT, _SPENT_TOGETHER = 0.75, 1.25

# Tables are tried only if a scan costs at least this many cache misses per table. The first limit is ten times the
# cost of a failed trial. The second is for k = 1 and few queries among crowded codes, where a near code is found
# soon. The third covers the start of a search: for radius searches, whose cost is known before, and repeated codes.
_TRIED_TABLE, _TRIED_TABLE_FOR_ONE, _TABLE = 9000, 4000, 250
_OFTEN = 8  # times that a code occurs on average
_LINE = 64  # bytes of a cache line

# Every 32nd query of a batch, or about 64 of a large one, is searched first: they show whether tables pay off.
_TRIED, _MOST_TRIED = 32, 64
_FIRST = 500  # cache misses of a search that take 2.5 times as long as later ones: fewer are prefetched together
_FEWER = 1.2  # the cost of scanning for some queries of a batch, relative to their share of that for all
_LAST = 2  # the cost of scanning for the last few queries of a batch, relative to their share of that for all

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Tables:
    """Hash tables over parts of codes, described in ``docs/index-format.md``.

    Attributes:
        bits: (m,) uint32, how many bits are the key of each table; keys are consecutive parts of a code.
        offsets: (Σ (2^bits + 1),) uint32: of each table where the rows of each bucket begin, and where the last end.
        rows: (n + (m - 1)·d,) uint32: the rows of each table; d of the n codes are distinct.
    """

    bits: NDArray[np.uint32]
    offsets: NDArray[np.uint32]
    rows: NDArray[np.uint32]

    @cached_property
    def crowded(self) -> bool:
        """Whether some buckets hold many more rows than in tables of uniformly random codes."""
        start = 0
        for size in (1 << self.bits.astype(np.int64)).tolist():
            rows = np.diff(self.offsets[start : start + size + 1]).astype(np.float64)
            mean = rows.mean()
            if np.square(rows).mean() > _CROWDED_RATIO * (mean + mean**2):
                return True
            start += size + 1
        return False

    @cached_property
    def repetitive(self) -> bool:
        """Whether most codes are equal to many others."""
        others = len(self.bits) - 1
        count = len(self.rows) - int(self.offsets[-1]) * others
        return others > 0 and int(self.offsets[-1]) * _OFTEN <= count

    @classmethod
    def of(cls, codes: NDArray[np.uint8]) -> Self:
        """Build the tables of codes (n, bits/8) uint8, n <= 2³⁰."""
        bits = key_bits(8 * codes.shape[1], len(codes))
        if hamming.isa:
            return cls(bits, *mih.build(np.ascontiguousarray(codes), bits))
        return cls(bits, *_built(codes, bits))

    @property
    def nbytes(self) -> int:
        """The memory of the tables in bytes."""
        return self.offsets.nbytes + self.rows.nbytes

    def distinct(self, count: int) -> int:
        """Return how many of the `count` codes are distinct."""
        return int(np.count_nonzero(self.rows[:count] < _REPEATED))

    def save(self, folder: Path) -> None:
        """Write the tables into a folder, as two arrays in NumPy's format."""
        for name, array in zip(FILES, (self.offsets, self.rows), strict=True):
            np.save(folder / name, array)

    @classmethod
    def load(cls, folder: Path, count: int, bits: int, mmap: bool = False) -> Self:
        """Read or map the tables of `count` codes of `bits` bits. Raises ValueError if they do not fit these."""
        offsets, rows = (_mapped(folder / name) for name in FILES)
        lengths = _recognized(bits, len(offsets))
        others = len(rows) - count
        if others < 0 or others % max(1, len(lengths) - 1) or (others and len(lengths) == 1):
            raise ValueError(f"{FILES[1]}: {len(rows)} rows for {count} codes")
        if (rows & _ROW).max(initial=0) >= max(1, count):
            raise ValueError(f"{FILES[1]}: a row outside the index")
        start = 0
        for table, length in enumerate(lengths.tolist()):
            starts = offsets[start : start + (1 << length) + 1]
            rows_of = others // (len(lengths) - 1) if table else count
            if starts[0] != 0 or starts[-1] != rows_of or (starts[1:] < starts[:-1]).any():
                raise ValueError(f"{FILES[0]}: the buckets do not hold the rows")
            start += len(starts)
        return cls(lengths, offsets, rows) if mmap else cls(lengths, np.array(offsets), np.array(rows))


def key_bits(bits: int, count: int) -> NDArray[np.uint32]:
    """Return how many bits are the key of each table, (m,) uint32, for `count` codes of `bits` bits.

    The tables are as few as possible with at most two buckets per code in all of them together.
    """
    lengths = _divided(bits, max(1, bits // _LEAST_KEY_BITS))
    for tables in range(-(-bits // _MOST_KEY_BITS), len(lengths)):
        fewer = _divided(bits, tables)
        if _size(fewer) <= _BUCKETS_PER_CODE * count:
            return fewer
    return lengths


def keys(codes: NDArray[np.uint8], start: int, stop: int) -> NDArray[np.int64]:
    """Return bits `start` to `stop` of codes (n, bits/8) as numbers, (n,) int64."""
    values = np.zeros(len(codes), np.int64)
    for bit in range(start, stop):
        values = values << 1 | codes[:, bit // 8] >> (7 - bit % 8) & 1
    return values


def top_k(
    queries: NDArray[np.uint8], codes: NDArray[np.uint8], tables: Tables, k: int, allowed: Mask | None = None
) -> Nearest:
    """Return the min(k, n) nearest codes of each query, ordered by (distance, position).

    Arguments and results are those of `hamming.top_k`, with the tables of the codes. Of many queries, some are tried
    first: if that does not pay off, all queries are compared with all codes.
    """
    count = hamming.allowed_count(codes, allowed)
    each = _cost(len(queries), codes, count)
    if not hamming.isa or _together(len(queries), each) < _least(tables, len(queries), k):
        return hamming.top_k(queries, codes, k, allowed, count)
    k, budget = min(k, count), each * (_SPENT_TOGETHER if len(queries) >= mih.MANY else _SPENT)
    if not 0 < k * k.bit_length() <= budget or _is_useless(tables, k, count, budget):
        return hamming.top_k(queries, codes, k, allowed, count)
    arrays, share = _arrays(codes, tables), _TRIAL_SHARE if tables.crowded else 0
    if len(queries) >= mih.MANY:
        tried = np.ascontiguousarray(queries[:: max(_TRIED, len(queries) // _MOST_TRIED)])
        costs = mih.nearest(arrays, tried, k, allowed, count, (budget, share * budget), hamming.isa)[2]
        if not _pays(costs, each):
            return hamming.top_k(queries, codes, k, allowed, count)
        if (costs > 0).all():
            budget *= _LAST
    ids, distances, costs = mih.nearest(arrays, queries, k, allowed, count, (budget, share * budget), hamming.isa)
    found = costs > 0
    if found.all():
        return Nearest(ids, distances)
    if not found.any():
        return hamming.top_k(queries, codes, k, allowed, count)
    scanned = hamming.top_k(queries[~found], codes, k, allowed, count)
    ids[~found], distances[~found] = scanned.ids, scanned.distances
    return Nearest(ids, distances)


def within(
    queries: NDArray[np.uint8], codes: NDArray[np.uint8], tables: Tables, radius: int, allowed: Mask | None = None
) -> Within:
    """Return every code at distance <= radius of each query, ordered by (distance, position).

    Arguments and results are those of `hamming.within`, with the tables of the codes.
    """
    count = hamming.allowed_count(codes, allowed)
    each = _cost(len(queries), codes, count)
    if not hamming.isa or _together(len(queries), each) < _TABLE * len(tables.bits):
        return hamming.within(queries, codes, radius, allowed, count)
    radius = min(radius, 8 * codes.shape[1])
    counts, found = mih.within(_arrays(codes, tables), queries, radius, allowed, _SPENT * each, hamming.isa)
    missing = counts < 0
    if missing.sum() > len(missing) / 2:  # scanning for the other queries, too, is faster than merging both
        return hamming.within(queries, codes, radius, allowed, count)
    scanned = hamming.within(queries[missing], codes, radius, allowed, count) if missing.any() else None
    if scanned is not None:
        counts[missing] = np.diff(scanned.offsets)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    ids, distances = np.empty(offsets[-1], np.int64), np.empty(offsets[-1], np.int32)
    elsewhere = np.repeat(missing, counts)
    if scanned is not None:
        ids[elsewhere], distances[elsewhere] = scanned.ids, scanned.distances
    ids[~elsewhere], distances[~elsewhere] = found & np.uint64((1 << 32) - 1), found >> np.uint64(32)
    return Within(offsets, ids, distances)


def cost_of_scan(count: int, width: int) -> float:
    """Return the cost of comparing a query with codes (count, width) on one core, in cache misses."""
    return _alone(count * -(-width // 8))


def is_scanned(count: int, width: int, distinct: int) -> bool:
    """Return whether one core always compares a query with all codes (count, width), `distinct` of which differ."""
    least = _TABLE if distinct * _OFTEN <= count else _TRIED_TABLE
    return cost_of_scan(count, width) < least * len(key_bits(8 * width, count))


def cost_of_candidate(width: int) -> float:
    """Return the cost of comparing a code of `width` bytes from a bucket, in cache misses, as `mih.c` counts it."""
    return -(-width // _LINE) + width / _LINE


def _cost(queries: int, codes: NDArray[np.uint8], count: int) -> float:
    """Return the cost of comparing one of the queries with `count` allowed codes, in cache misses."""
    words = _words(codes, count)
    if queries >= mih.MANY:
        return _COMPARED_TOGETHER * words
    cost = _alone(words) / native.threads()
    if queries > 1:
        cost *= _FEW_SHORT if codes.shape[1] <= 8 else _FEW_LONG
    return cost


def _alone(words: float) -> float:
    """Return the cost of comparing words with a single query on one core, in cache misses."""
    return (_COMPARED_CACHED if words < _CACHED else _COMPARED) * words


def _together(queries: int, each: float) -> float:
    """Return the cost of comparing that a trial saves: with one query, or with all if a few show what to do."""
    return queries * each if queries >= mih.MANY else each


def _least(tables: Tables, queries: int, k: int) -> float:
    """Return the cost of comparing all codes from which on tables are tried for the `k` nearest codes."""
    if tables.repetitive:
        return _TABLE * len(tables.bits)
    for_one = k == 1 and queries < mih.MANY and tables.crowded
    return (_TRIED_TABLE_FOR_ONE if for_one else _TRIED_TABLE) * len(tables.bits)


def _words(codes: NDArray[np.uint8], count: int) -> float:
    """Return the words that a scan for `count` allowed codes reads, or the time for the mask in words."""
    words = -(-codes.shape[1] // 8)
    if hamming.is_sparse(count, codes):
        return min(len(codes), len(codes) / 4 + count * words)
    return len(codes) * words


def _pays(costs: NDArray[np.float64], budget: float) -> bool:
    """Return whether tables pay off for a batch, given the costs of some of its searches, as `mih.nearest` does."""
    spent = float(np.abs(costs).mean())
    spent += 1.5 * min(spent, _FIRST)
    return spent + _FEWER * budget * float((costs < 0).mean()) < budget


def _is_useless(tables: Tables, k: int, count: int, budget: float) -> bool:
    """Return whether the codes seem to be uniformly random, and a search of `count` of them costs too much.

    For the nearest code alone a search may still end early: if it equals the query, or nearly.
    """
    if k == 1 or tables.crowded:
        return False
    return _cost_of_uniform(tuple(tables.bits.tolist()), len(tables.rows) // len(tables.bits), k, count) > budget


@lru_cache
def _cost_of_uniform(lengths: tuple[int, ...], rows: int, k: int, count: int) -> float:
    """Return the expected cost of a search by tables of `rows` rows each, in cache misses."""
    bits, tables = sum(lengths), len(lengths)
    nearer, distance = 1, 0  # codes up to a distance, of 2^bits
    while count * nearer < k << bits:
        distance += 1
        nearer += comb(bits, distance)
    cost = 0.0
    for step in range(distance + 1):
        length = lengths[step % tables]
        each = rows / (1 << length)
        cost += comb(length, step // tables) * (1 + min(1.0, each) + each * cost_of_candidate(bits // 8))
    return cost


def _arrays(codes: NDArray[np.uint8], tables: Tables) -> mih.Tables:
    return np.ascontiguousarray(codes), tables.bits, tables.offsets, tables.rows


def _divided(bits: int, tables: int) -> NDArray[np.uint32]:
    return np.array([bits // tables + (table < bits % tables) for table in range(tables)], np.uint32)


def _size(lengths: NDArray[np.uint32]) -> int:
    """Return the number of buckets."""
    return int(np.sum(1 << lengths.astype(np.int64)))


def _recognized(bits: int, size: int) -> NDArray[np.uint32]:
    """Return the key bits of tables with `size` offsets."""
    for tables in range(-(-bits // _MOST_KEY_BITS), max(1, bits // _LEAST_KEY_BITS) + 1):
        lengths = _divided(bits, tables)
        if _size(lengths) + tables == size:
            return lengths
    raise ValueError(f"{FILES[0]}: {size} offsets for codes of {bits} bits")


def _mapped(path: Path) -> NDArray[np.uint32]:
    array = np.lib.format.open_memmap(path, mode="r")
    if array.dtype != np.uint32 or array.ndim != 1 or not array.flags.aligned:
        raise ValueError(f"{path.name}: {array.dtype} {array.shape} are not tables")
    return array.view(np.ndarray)


def _built(codes: NDArray[np.uint8], bits: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return the offsets and rows of tables without compiled code."""
    order = np.argsort(np.ascontiguousarray(codes).view(f"S{codes.shape[1]}")[:, 0], kind="stable")
    repeated = np.zeros(len(codes), np.bool_)
    repeated[1:] = (codes[order[1:]] == codes[order[:-1]]).all(axis=1)
    follows = np.append(False, repeated[:-1])
    marked = order.astype(np.uint32) | repeated * _REPEATED | (repeated & ~follows) * _NEXT
    distinct = np.sort(order[~repeated])
    offsets, rows = [], [marked[np.lexsort((repeated, keys(codes[order], 0, int(bits[0]))))]]
    ends = np.cumsum(bits).tolist()
    for end, length in zip(ends, bits.tolist(), strict=True):
        values = keys(codes if end == length else codes[distinct], end - length, end)
        offsets.append(np.concatenate([[0], np.cumsum(np.bincount(values, minlength=1 << length))]))
        if end > length:
            rows.append(distinct[np.argsort(values, kind="stable")])
    return np.concatenate(offsets).astype(np.uint32), np.concatenate(rows).astype(np.uint32)
