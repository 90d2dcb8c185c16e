"""What a search with type mih costs, estimated on the codes before an index is built."""

from math import comb

import numpy as np
from numpy.typing import NDArray

from transhash import hamming, multi_index
from transhash.backends import CodeRows

from .blocks import blocks, sample

_QUERIES = 64
_NEIGHBOURS = 10
_MOST = 1 << 16  # distinct codes in a sample
_STEP = 1 << 16  # codes hashed at a time, so that their data stay in the cache
_FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ divided by the golden ratio
_HALF = np.uint64(32)


class DistinctSample:
    """A sample of the distinct codes: those with a hash below a limit, which is halved when they become too many.

    However often a code occurs, the tables of type mih hold it once. The order of the codes does not matter.

    Attributes:
        codes: (m, bits/8) uint8, distinct, at most `_MOST`.
        scale: how many distinct codes each of them stands for.
    """

    def __init__(self, width: int) -> None:
        """Begin without codes; they have `width` bytes."""
        self.codes = np.empty((0, width), np.uint8)
        self.scale = 1
        self._hashes = np.empty(0, np.uint64)  # ascending

    def add(self, codes: NDArray[np.uint8]) -> None:
        """Add codes (n, bits/8) uint8."""
        for start in range(0, len(codes), _STEP):
            part = codes[start : start + _STEP]
            hashes = _hashes(part)
            near = np.flatnonzero(hashes <= self._limit)
            hashes, part = hashes[near], part[near]
            if len(self._hashes):
                new = self._hashes.take(np.searchsorted(self._hashes, hashes), mode="clip") != hashes
                hashes, part = hashes[new], part[new]
            if len(hashes):
                self._insert(hashes, part)

    @property
    def _limit(self) -> np.uint64:
        return np.uint64((1 << 64) // self.scale - 1)

    def _insert(self, hashes: NDArray[np.uint64], codes: NDArray[np.uint8]) -> None:
        self._hashes, first = np.unique(np.concatenate([self._hashes, hashes]), return_index=True)
        self.codes = np.concatenate([self.codes, codes])[first]
        while len(self._hashes) > _MOST:
            self.scale *= 2
            kept = int(np.searchsorted(self._hashes, self._limit, side="right"))
            self._hashes, self.codes = self._hashes[:kept], self.codes[:kept]


def share_of_scan(rows: CodeRows) -> float:
    """Return the cost of a search for ten neighbours with type mih, as a share of that of comparing all codes.

    It is the median over queries that are codes of `rows` (n, bits/8) uint8, which are read twice.
    """
    queries, distinct = sample(rows, _QUERIES), DistinctSample(rows.shape[1])
    nearest = np.full((len(queries), _NEIGHBOURS + 1), 8 * rows.shape[1])  # a code is its own neighbour
    for _, block in blocks(rows):
        near = hamming.top_k(queries, block, _NEIGHBOURS + 1).distances
        nearest = np.sort(np.concatenate([nearest, near], axis=1), axis=1)[:, : _NEIGHBOURS + 1]
        distinct.add(block)
    if multi_index.is_scanned(len(rows), rows.shape[1], len(distinct.codes) * distinct.scale):
        return 1.0
    costs = _costs(queries, nearest[:, -1], distinct, len(rows))
    return float(np.median(costs)) / multi_index.cost_of_scan(len(rows), rows.shape[1])


def _costs(
    queries: NDArray[np.uint8], furthest: NDArray[np.int64], distinct: DistinctSample, count: int
) -> NDArray[np.float64]:
    """Return the cost of visiting all buckets in which codes up to a distance (q,) from each query can be.

    `distinct` is a sample of the `count` codes.
    """
    lengths = multi_index.key_bits(8 * queries.shape[1], count).tolist()
    each = multi_index.cost_of_candidate(queries.shape[1])
    costs, held = np.zeros(len(queries)), len(distinct.codes) * distinct.scale
    for table, (end, length) in enumerate(zip(np.cumsum(lengths).tolist(), lengths, strict=True)):
        keys, asked = (multi_index.keys(part, end - length, end) for part in (distinct.codes, queries))
        steps = np.arange(length + 1)
        buckets = np.array([comb(length, flips) for flips in steps], np.float64)
        for query, key in enumerate(asked):
            near = np.bincount(np.bitwise_count(keys ^ key), minlength=length + 1) * distinct.scale
            expected = np.maximum(near, buckets * held / 2**length)
            visited = steps * len(lengths) + table <= furthest[query]
            costs[query] += (buckets + np.minimum(buckets, expected) + expected * each)[visited].sum()
    return costs


def _hashes(codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return a number for each code (n, bits/8), (n,) uint64, evenly distributed."""
    words = np.zeros((len(codes), -(-codes.shape[1] // 8)), np.uint64)
    words.view(np.uint8)[:, : codes.shape[1]] = codes
    hashes = np.zeros(len(codes), np.uint64)
    for word in words.T:
        hashes ^= word
        for _ in range(2):  # the multiplication mixes upwards, the shift downwards
            hashes *= _FACTOR
            hashes ^= hashes >> _HALF
    return hashes * _FACTOR
