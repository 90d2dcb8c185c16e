"""How well a collection uses its bits: their balance and independence, and the number of distinct codes.

Balanced and uncorrelated bits are what a good code has (Weiss, Torralba & Fergus, *Spectral Hashing*, NIPS 2008).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import MismatchError

_ROWS = 1 << 14  # rows unpacked at a time; float32 counts them exactly


@dataclass(frozen=True, eq=False)
class BitDiagnostics:
    """How well a collection uses its bits.

    Attributes:
        balance: (bits,) float64, share of ones of each bit.
        mean_correlation: mean of the absolute correlation over all pairs of different bits, 0 to 1; a constant bit
            correlates with none.
        max_correlation: the largest of them.
        mean_entropy: entropy of a bit alone, in bits, 0 to 1; mean over the bits.
        constant_bits: bits that are the same in all rows.
        distinct_codes: different codes.
        collisions: share of the rows that share their code with another row.
        largest_bucket: rows that share the most frequent code.
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
    """Measure codes (n, bits/8) uint8, in blocks. Raises MismatchError if there are none."""
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
        mean_entropy=float((_surprise(balance) + _surprise(1 - balance)).mean()),
        constant_bits=int(((ones == 0) | (ones == len(codes))).sum()),
        distinct_codes=len(buckets),
        collisions=float(buckets[buckets > 1].sum() / len(codes)),
        largest_bucket=int(buckets.max()),
    )


def _ones_together(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return in how many rows both bits of a pair are one, (bits, bits); the diagonal counts each bit's ones."""
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


def _surprise(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return -p · log2(p), 0 for p = 0."""
    return -share * np.log2(share, out=np.zeros(len(share)), where=share > 0)


def _buckets(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how many rows carry each of the different codes."""
    width = codes.shape[1]
    whole = np.ascontiguousarray(codes).view(f"u{width}" if width in (1, 2, 4, 8) else f"V{width}")
    return np.unique(whole, return_counts=True)[1]
