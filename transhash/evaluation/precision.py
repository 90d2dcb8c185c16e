"""Precision and recall of the first N, and precision within a Hamming radius."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .levels import Levels


def expected_hits(levels: Levels, depths: Sequence[int]) -> NDArray[np.float64]:
    """Return the expected hits of each query among the first N over all orders of ties, (q, m) for m `depths`.

    Within a level, expected hits grow linearly with N.
    """
    start = np.zeros((len(levels.total), 1), np.int64)
    ranks = np.concatenate([start, levels.total.cumsum(axis=1)], axis=1)
    hits = np.concatenate([start, levels.relevant.cumsum(axis=1)], axis=1)
    return np.array([np.interp(depths, *query) for query in zip(ranks, hits, strict=True)]).reshape(-1, len(depths))


def recall_of(levels: Levels, hits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return hits (q, m) as shares of each query's relevant items; 0 if it has none."""
    relevant = levels.relevant.sum(axis=1)[:, None]
    return np.divide(hits, relevant, out=np.zeros(hits.shape), where=relevant > 0)


def precision_at(levels: Levels, n: int) -> NDArray[np.float64]:
    """Return P@N of each query, (q,): expected relevant share of the first N."""
    return expected_hits(levels, [n])[:, 0] / n


def recall_at(levels: Levels, n: int) -> NDArray[np.float64]:
    """Return recall@N of each query, (q,): expected share of relevant items among the first N; 0 if none exist."""
    return recall_of(levels, expected_hits(levels, [n]))[:, 0]


def precision_within(levels: Levels, radius: int) -> NDArray[np.float64]:
    """Return P@H≤r of each query, (q,): relevant share of the matches within `radius` bits; 0 without matches."""
    retrieved = levels.total[:, : radius + 1].sum(axis=1)
    hits = levels.relevant[:, : radius + 1].sum(axis=1)
    return np.divide(hits, retrieved, out=np.zeros(len(retrieved)), where=retrieved > 0)


def empty_within(levels: Levels, radius: int) -> NDArray[np.float64]:
    """Return for each query, (q,), 1 if it has no match within `radius` bits, else 0."""
    return (levels.total[:, : radius + 1].sum(axis=1) == 0).astype(np.float64)
