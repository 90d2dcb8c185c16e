"""Scores of copy detection: how well distances separate copies from all other pairs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transhash import hamming

_PRECISION = 0.99
_BLOCK = 1 << 25  # distances computed at once


@dataclass(frozen=True, eq=False)
class Scores:
    """Counts of query-image pairs at each distance from 0 to the number of bits.

    Attributes:
        right: (bits + 1,) int64, pairs of a copy and its original.
        wrong: (bits + 1,) int64, all other pairs.
        distances: (q,) int64, distance of each query to its original; -1 for a query without one.
    """

    right: NDArray[np.int64]
    wrong: NDArray[np.int64]
    distances: NDArray[np.int64]

    @classmethod
    def of(cls, queries: NDArray[np.uint8], originals: NDArray[np.uint8], truth: NDArray[np.int64]) -> "Scores":
        """Compare packed queries (q, bits/8) with images (n, bits/8).

        `truth` (q,) holds the row of each query's original, or -1.
        """
        depth = queries.shape[1] * 8 + 1
        pairs = np.zeros(depth, np.int64)
        to_original = np.full(len(queries), -1, np.int64)
        block = max(1, _BLOCK // len(originals))
        for start in range(0, len(queries), block):
            distances = hamming.distances(queries[start : start + block], originals)
            pairs += np.bincount(distances.ravel(), minlength=depth)
            known = np.flatnonzero(truth[start : start + block] >= 0)
            to_original[start + known] = distances[known, truth[start + known]]
        right = np.bincount(to_original[to_original >= 0], minlength=depth)
        return cls(right, pairs - right, to_original)

    @property
    def copies(self) -> int:
        """The number of queries that have an original."""
        return int(self.right.sum())

    @property
    def precision(self) -> NDArray[np.float64]:
        """Precision of the pairs within each distance, (bits + 1,); 1 where there are no pairs."""
        right, wrong = self.right.cumsum(), self.wrong.cumsum()
        return np.where(right + wrong > 0, right / np.maximum(right + wrong, 1), 1.0)

    @property
    def recall(self) -> NDArray[np.float64]:
        """Share of the copies within each distance of their original, (bits + 1,)."""
        return self.right.cumsum() / max(1, self.copies)

    @property
    def micro_ap(self) -> float:
        """Average precision over the pairs of all queries, with wrong pairs first among ties."""
        return float((self.right * self.precision).sum() / max(1, self.copies))

    @property
    def radius(self) -> int:
        """The largest distance within which at least 99 % of the pairs are right; -1 if no distance qualifies."""
        return int(np.flatnonzero((self.precision >= _PRECISION) & (self.right.cumsum() > 0)).max(initial=-1))

    @property
    def recall_at_99(self) -> float:
        """Recall within `radius`."""
        return float(self.recall[self.radius]) if self.radius >= 0 else 0.0

    @property
    def recall_without_false(self) -> float:
        """Recall within the largest distance that contains no wrong pair."""
        clean = int(np.flatnonzero(self.wrong.cumsum() == 0).max(initial=-1))
        return float(self.recall[clean]) if clean >= 0 else 0.0
