"""Bounds of average precision under ties: its value in the worst and in the best order.

Within a level that lies before the cut-off R, average precision is lowest with the relevant items last, and highest
with them first (as in He et al., *Hashing as Tie-Aware Learning to Rank*, CVPR 2018). If R falls inside a level, the
number of its relevant items among the first R matters, too: one more hit at a late rank can lower the mean. The
bounds are taken over that number as well, so that no order of the ties lies outside them.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from .levels import Levels

Band = tuple[NDArray[np.float64], NDArray[np.float64]]


def average_precision_band(levels: Levels, at: int | None = None) -> Band:
    """Return the lowest and the highest AP@R of each query over all orders of its ties, two of (q,) float64.

    AP@R as in `average_precision`; R is the whole database if `at` is None.
    """
    before = np.cumsum(levels.total, axis=1) - levels.total
    hits_before = np.cumsum(levels.relevant, axis=1) - levels.relevant
    after = before + levels.total
    depth = levels.total.sum(axis=1).max(initial=0) if at is None else at
    whole = after <= depth
    hits = np.where(whole, levels.relevant, 0).sum(axis=1)
    low = np.where(whole, _last(after, hits_before, levels.relevant), 0.0).sum(axis=1)
    high = np.where(whole, _first(before, hits_before, levels.relevant), 0.0).sum(axis=1)
    worst, best = _mean(low, hits), _mean(high, hits)

    rows, cut = np.nonzero((before < depth) & ~whole)  # at most one level per query
    total, relevant, start, hits = levels.total[rows, cut], levels.relevant[rows, cut], before[rows, cut], hits[rows]
    taken = depth - start
    fewest, most = np.maximum(0, taken - (total - relevant)), np.minimum(taken, relevant)
    drawn = _worst_number(low[rows], hits, depth, fewest, most)
    worst[rows] = _mean(low[rows] + _last(depth, hits, drawn), hits + drawn)
    # Each additional hit adds more than the previous one: the mean falls, then rises, so its maximum is at an end.
    ends = [_mean(high[rows] + _first(start, hits, number), hits + number) for number in (fewest, most)]
    best[rows] = np.maximum(*ends)
    return worst, best


def _first(before: NDArray[np.int64], hits: NDArray[np.int64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return Σ (hits + j)/(before + j) over j = 1, ... `drawn`: relevant items directly after `before` others."""
    return drawn + (hits - before) * (digamma(before + drawn + 1.0) - digamma(before + 1.0))


def _last(end: NDArray[np.int64] | int, hits: NDArray[np.int64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the same sum for relevant items on the last `drawn` ranks up to `end`."""
    return _first(end - drawn, hits, drawn)


def _worst_number(
    gains: NDArray[np.float64],
    hits: NDArray[np.int64],
    depth: int,
    fewest: NDArray[np.int64],
    most: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return the number of relevant items on the last ranks up to `depth` that minimizes the mean, (q,) int64.

    Each additional item adds more than the previous one, so the mean falls until the addition reaches the mean.
    Bisection finds that turning point.
    """
    low, high = fewest, most
    while (low < high).any():
        middle = (low + high) // 2
        rank = np.maximum(1, depth - middle)
        added = (hits + 1) / rank + digamma(depth + 1.0) - digamma(rank + 1.0)
        turned = added * (hits + middle) >= gains + _last(depth, hits, middle)
        low, high = np.where(turned | (low >= high), low, middle + 1), np.where(turned, middle, high)
    return low


def _mean(gains: NDArray[np.float64], hits: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(gains, hits, out=np.zeros(len(gains)), where=hits > 0)
