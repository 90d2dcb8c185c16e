"""How well distances separate copies from all other pairs, as copy detection is scored."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transhash import hamming

_PRECISION = 0.99
_BLOCK = 1 << 25  # distances computed at a time


@dataclass(frozen=True, eq=False)
class Scores:
    """Pairs of a query and an image, by distance.

    Attributes:
        right: (d,) int64, pairs of a copy and its original at each distance.
        wrong: (d,) int64, all other pairs.
        distances: (q,) int64, of each query to its original; -1 where there is none.
    """

    right: NDArray[np.int64]
    wrong: NDArray[np.int64]
    distances: NDArray[np.int64]

    @classmethod
    def of(cls, queries: NDArray[np.uint8], originals: NDArray[np.uint8], truth: NDArray[np.int64]) -> "Scores":
        """Compare queries (q, w) with originals (n, w); `truth` (q,) are the originals' positions, or -1."""
        depth = queries.shape[1] * 8 + 1
        every = np.zeros(depth, np.int64)
        own = np.full(len(queries), -1, np.int64)
        block = max(1, _BLOCK // len(originals))
        for start in range(0, len(queries), block):
            apart = hamming.distances(queries[start : start + block], originals)
            every += np.bincount(apart.ravel(), minlength=depth)
            known = np.flatnonzero(truth[start : start + block] >= 0)
            own[start + known] = apart[known, truth[start + known]]
        right = np.bincount(own[own >= 0], minlength=depth)
        return cls(right, every - right, own)

    @property
    def copies(self) -> int:
        """The number of queries that have an original."""
        return int(self.right.sum())

    @property
    def precision(self) -> NDArray[np.float64]:
        """Precision of all pairs within each distance, (d,); 1 where there are none."""
        right, wrong = self.right.cumsum(), self.wrong.cumsum()
        return np.where(right + wrong > 0, right / np.maximum(right + wrong, 1), 1.0)

    @property
    def recall(self) -> NDArray[np.float64]:
        """Share of the copies within each distance of their originals, (d,)."""
        return self.right.cumsum() / max(1, self.copies)

    @property
    def micro_ap(self) -> float:
        """Average precision over the pairs of all queries together; of pairs that tie, the wrong ones come first."""
        return float((self.right * self.precision).sum() / max(1, self.copies))

    @property
    def radius(self) -> int:
        """The largest distance within which 99 % of the pairs are right; -1 if there is none."""
        return int(np.flatnonzero((self.precision >= _PRECISION) & (self.right.cumsum() > 0)).max(initial=-1))

    @property
    def recall_at_99(self) -> float:
        """Recall within `radius`."""
        return float(self.recall[self.radius]) if self.radius >= 0 else 0.0

    @property
    def recall_without_false(self) -> float:
        """Recall within the largest distance that no wrong pair has."""
        clean = int(np.flatnonzero(self.wrong.cumsum() == 0).max(initial=-1))
        return float(self.recall[clean]) if clean >= 0 else 0.0
