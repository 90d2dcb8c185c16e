"""Mean average precision under ties.

AP@R = (1/H) · Σ_{i ≤ R} rel(i) · hits(i)/i, where H is the number of relevant items among the first R (the
convention of the hashing literature; 0 if H = 0). Where items tie, their order is arbitrary, so AP@R is a
random variable: this is its exact expectation over all orders (McSherry & Najork, ECIR 2008, extended here to a
cut-off R that falls inside a tie).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma

from .levels import Levels


def average_precision(levels: Levels, at: int | None = None) -> NDArray[np.float64]:
    """Return the expected AP@R of each query, (q,) float64; R is the whole database if `at` is None."""
    from scipy.stats import hypergeom  # takes most of a second to import

    before = np.cumsum(levels.total, axis=1) - levels.total
    hits_before = np.cumsum(levels.relevant, axis=1) - levels.relevant
    depth = levels.total.sum(axis=1).max(initial=0) if at is None else at
    whole = before + levels.total <= depth
    gains = np.where(whole, _gain(levels.total, levels.relevant, before, hits_before), 0.0).sum(axis=1)
    hits = np.where(whole, levels.relevant, 0).sum(axis=1)
    result = np.divide(gains, hits, out=np.zeros(len(gains)), where=hits > 0)
    for query, level in zip(*np.nonzero((before < depth) & ~whole), strict=True):
        total, relevant = int(levels.total[query, level]), int(levels.relevant[query, level])
        taken = int(depth - before[query, level])
        drawn = np.arange(max(0, taken - (total - relevant)), min(taken, relevant) + 1)
        gain = gains[query] + _gain(np.full_like(drawn, taken), drawn, before[query, level], hits[query])
        precision = np.divide(gain, hits[query] + drawn, out=np.zeros(len(drawn)), where=hits[query] + drawn > 0)
        result[query] = hypergeom.pmf(drawn, total, relevant, taken) @ precision
    return result


def _gain(
    total: NDArray[np.int64],
    relevant: NDArray[np.int64],
    before: NDArray[np.int64],
    hits_before: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the expected Σ rel(i) · hits(i)/i over a level of `total` tied items, ranked after `before` others.

    Position j of the level is relevant with probability r/n, and then (j - 1)(r - 1)/(n - 1) hits are expected
    before it in the level. The sums over j are harmonic numbers, H(m) = ψ(m + 1) + const.
    """
    harmonic = digamma(before + total + 1.0) - digamma(before + 1.0)
    share = np.divide(relevant, total, out=np.zeros(np.shape(total)), where=total > 0)
    slope = np.divide(relevant - 1, total - 1, out=np.zeros(np.shape(total)), where=total > 1)
    return share * ((hits_before + 1) * harmonic + slope * (total - (before + 1) * harmonic))
