"""Bit statistics of a collection: balance, correlation, and the number of distinct codes.

The bits of a good code are balanced and uncorrelated (Weiss, Torralba & Fergus, *Spectral Hashing*, NIPS 2008).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import MismatchError

_ROWS = 1 << 14  # rows unpacked at a time; float32 represents such counts exactly


@dataclass(frozen=True, eq=False)
class BitDiagnostics:
    """How well a collection uses its bits.

    Attributes:
        balance: (bits,) float64, share of ones in each bit.
        mean_correlation: mean absolute correlation over all pairs of different bits, 0 to 1; 0 for a constant bit.
        max_correlation: the highest absolute correlation.
        mean_entropy: mean entropy of the individual bits, in bits, 0 to 1.
        constant_bits: number of bits that are equal in all rows.
        distinct_codes: number of different codes.
        collisions: share of rows whose code another row has, too.
        largest_bucket: number of rows with the most frequent code.
    """

    balance: NDArray[np.float64]
    mean_correlation: float
    max_correlation: float
    mean_entropy: float
    constant_bits: int
    distinct_codes: int
    collisions: float
    largest_bucket: int


def diagnose(codes: NDArray[np.uint8]) -> BitDiagnostics:
    """Measure codes (n, bits/8) uint8, in blocks. Raises MismatchError if n is 0."""
    if not len(codes):
        raise MismatchError("no codes: nothing to diagnose")
    together = _ones_together(codes)
    ones = together.diagonal()
    correlation = _correlations(together, len(codes))
    balance = ones / len(codes)
    buckets = _buckets(codes)
    return BitDiagnostics(
        balance=balance,
        mean_correlation=float(correlation.mean()),
        max_correlation=float(correlation.max()),
        mean_entropy=float((_entropy_terms(balance) + _entropy_terms(1 - balance)).mean()),
        constant_bits=int(((ones == 0) | (ones == len(codes))).sum()),
        distinct_codes=len(buckets),
        collisions=float(buckets[buckets > 1].sum() / len(codes)),
        largest_bucket=int(buckets.max()),
    )


def _ones_together(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the rows in which both bits of a pair are 1, (bits, bits); the diagonal counts the ones of each bit."""
    bits = codes.shape[1] * 8
    together = np.zeros((bits, bits), dtype=np.int64)
    for start in range(0, len(codes), _ROWS):
        block = np.unpackbits(codes[start : start + _ROWS], axis=1).astype(np.float32)
        together += (block.T @ block).astype(np.int64)
    return together


def _correlations(together: NDArray[np.int64], rows: int) -> NDArray[np.float64]:
    """Return the absolute correlation of each pair of different bits, (bits · (bits - 1)/2,)."""
    ones = together.diagonal()
    covariance = np.abs(rows * together - np.outer(ones, ones)).astype(np.float64)
    deviation = np.sqrt((ones * (rows - ones)).astype(np.float64))
    scale = np.outer(deviation, deviation)
    correlation = np.divide(covariance, scale, out=np.zeros(scale.shape), where=scale > 0)
    return np.minimum(correlation[np.triu_indices(len(ones), 1)], 1.0)


def _entropy_terms(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return -p · log2(p), 0 for p = 0."""
    return -share * np.log2(share, out=np.zeros(len(share)), where=share > 0)


def _buckets(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the number of rows of each distinct code."""
    width = codes.shape[1]
    whole = np.ascontiguousarray(codes).view(f"u{width}" if width in (1, 2, 4, 8) else f"V{width}")
    return np.unique(whole, return_counts=True)[1]
