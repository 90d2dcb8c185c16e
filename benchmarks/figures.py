"""Summaries of repeated measurements: medians, quantiles, recall and power-law fits."""

import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from transhash.report.records import Measurement


def spread(values: Sequence[float]) -> Measurement:
    """Return the median of repeated measurements, with their minimum and maximum."""
    return Measurement(statistics.median(values), min(values), max(values))


def latencies(rounds: Sequence[Sequence[float]]) -> dict[str, Measurement]:
    """Return p50, p95 and p99 latency; `rounds` holds the milliseconds of each single query, round by round.

    Each figure is the median over the rounds, with minimum and maximum.
    """
    return {
        name: spread([float(np.quantile(times, level)) for times in rounds])
        for name, level in (("ms per query", 0.5), ("ms per query p95", 0.95), ("ms per query p99", 0.99))
    }


def share_as_near(found: NDArray[np.number], furthest: NDArray[np.number], slack: float = 0.0) -> float:
    """Return the share of results that are at most as far away as the k-th match of an exact search.

    Args:
        found: (q, k), distances of the results; infinity where a result is missing.
        furthest: (q,), distance of the k-th nearest neighbour of each query.
        slack: tolerance, in the unit of the distances.
    """
    return float((found <= furthest[:, None] + slack).mean())


def exponent(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Fit y ∝ x^e by least squares of the logarithms; return e and its standard error.

    Raises ValueError for fewer than three points or a value that is not positive.
    """
    if len(x) < 3 or min(x) <= 0 or min(y) <= 0:
        raise ValueError("a fit with a standard error needs at least three points, all positive")
    log_x, log_y = np.log(x), np.log(y)
    log_x = log_x - log_x.mean()
    slope = float(log_x @ log_y / (log_x @ log_x))
    residual = log_y - log_y.mean() - slope * log_x
    return slope, float(np.sqrt(residual @ residual / (len(x) - 2) / (log_x @ log_x)))
