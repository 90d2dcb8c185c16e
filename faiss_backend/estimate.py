"""What a search with type mih costs, estimated on the codes before an index is built."""

from math import comb

import numpy as np
from numpy.typing import NDArray

from transhash import hamming, multi_index
from transhash.backends import CodeRows

from .blocks import blocks, sample

_QUERIES = 64
_SAMPLE = 1 << 15  # codes from which the number of codes in buckets is estimated
_NEIGHBOURS = 10


def share_of_scan(rows: CodeRows) -> float:
    """Return the cost of a search for ten neighbours with type mih, as a share of that of comparing all codes.

    It is the median over queries that are codes of `rows` (n, bits/8) uint8, which are read twice.
    """
    codes = sample(rows, _SAMPLE)
    queries = codes[:: max(1, len(codes) // _QUERIES)][:_QUERIES]
    nearest = np.full((len(queries), _NEIGHBOURS + 1), 8 * rows.shape[1])  # a code is its own neighbour
    for _, block in blocks(rows):
        near = hamming.top_k(queries, block, _NEIGHBOURS + 1).distances
        nearest = np.sort(np.concatenate([nearest, near], axis=1), axis=1)[:, : _NEIGHBOURS + 1]
    costs = _costs(queries, nearest[:, -1], codes, len(rows))
    return float(np.median(costs)) / multi_index.cost_of_scan(len(rows), rows.shape[1])


def _costs(
    queries: NDArray[np.uint8], furthest: NDArray[np.int64], codes: NDArray[np.uint8], count: int
) -> NDArray[np.float64]:
    """Return the cost of visiting all buckets in which codes up to a distance (q,) from each query can be.

    `codes` are a sample of the `count` codes.
    """
    lengths = multi_index.key_bits(8 * codes.shape[1], count).tolist()
    costs = np.zeros(len(queries))
    for table, (end, length) in enumerate(zip(np.cumsum(lengths).tolist(), lengths, strict=True)):
        keys, asked = (multi_index.keys(part, end - length, end) for part in (codes, queries))
        steps = np.arange(length + 1)
        buckets = np.array([comb(length, flips) for flips in steps], np.float64)
        for query, key in enumerate(asked):
            near = np.bincount(np.bitwise_count(keys ^ key), minlength=length + 1) * (count / len(codes))
            expected = np.maximum(near, buckets * count / 2**length)
            visited = steps * len(lengths) + table <= furthest[query]
            costs[query] += (buckets + np.minimum(buckets, expected) + expected)[visited].sum()
    return costs
