"""Precision and recall of the first N, and inside a Hamming radius."""

import numpy as np
from numpy.typing import NDArray

from .levels import Levels


def precision_at(levels: Levels, n: int) -> NDArray[np.float64]:
    """Return P@N of each query, (q,): relevant share of the first N, expected over the order of ties."""
    return _expected_hits(levels, n) / n


def recall_at(levels: Levels, n: int) -> NDArray[np.float64]:
    """Return recall@N of each query, (q,): share of the relevant items that are among the first N; 0 if none are."""
    relevant = levels.relevant.sum(axis=1)
    return np.divide(_expected_hits(levels, n), relevant, out=np.zeros(len(relevant)), where=relevant > 0)


def precision_within(levels: Levels, radius: int) -> NDArray[np.float64]:
    """Return P@H≤r of each query, (q,): relevant share of what lies within `radius` bits; 0 if nothing does."""
    found = levels.total[:, : radius + 1].sum(axis=1)
    hits = levels.relevant[:, : radius + 1].sum(axis=1)
    return np.divide(hits, found, out=np.zeros(len(found)), where=found > 0)


def empty_within(levels: Levels, radius: int) -> NDArray[np.float64]:
    """Return for each query, (q,), 1 if nothing lies within `radius` bits, else 0."""
    return (levels.total[:, : radius + 1].sum(axis=1) == 0).astype(np.float64)


def _expected_hits(levels: Levels, n: int) -> NDArray[np.float64]:
    """Hits among the first n: of a level that is cut, its relevant share."""
    before = np.cumsum(levels.total, axis=1) - levels.total
    taken = np.clip(n - before, 0, levels.total)
    share = np.divide(levels.relevant, levels.total, out=np.zeros(levels.total.shape), where=levels.total > 0)
    result: NDArray[np.float64] = (taken * share).sum(axis=1)
    return result
