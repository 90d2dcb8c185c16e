"""From measurements to figures."""

import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from transhash.report.records import Measurement


def spread(values: Sequence[float]) -> Measurement:
    """Return the median of several measurements, with the lowest and highest of them."""
    return Measurement(statistics.median(values), min(values), max(values))


def latencies(rounds: Sequence[Sequence[float]]) -> dict[str, Measurement]:
    """Return the figures of single queries, from their milliseconds in each round: medians over the rounds."""
    return {
        name: spread([float(np.quantile(own, share)) for own in rounds])
        for name, share in (("ms per query", 0.5), ("ms per query p95", 0.95), ("ms per query p99", 0.99))
    }


def share_as_near(found: NDArray[np.number], furthest: NDArray[np.number], slack: float = 0.0) -> float:
    """Return the share of places filled as near as exact search fills them.

    Args:
        found: (q, k), distances of what was found; infinity where a place is empty.
        furthest: (q,), distance of the k-th nearest of each query.
        slack: differences up to this count as none.
    """
    return float((found <= furthest[:, None] + slack).mean())


def exponent(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Fit y ∝ x^e by least squares of the logarithms; return e and its standard error.

    Raises ValueError for fewer than three points, or one that is not above 0.
    """
    if len(x) < 3 or min(x) <= 0 or min(y) <= 0:
        raise ValueError("a fit with an error takes three points or more, above 0")
    across, up = np.log(x), np.log(y)
    across = across - across.mean()
    slope = float(across @ up / (across @ across))
    left = up - up.mean() - slope * across
    return slope, float(np.sqrt(left @ left / (len(x) - 2) / (across @ across)))
