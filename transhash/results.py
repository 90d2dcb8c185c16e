"""The results of a backend's search: positions and distances, without paths."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_ID = -1
NO_DISTANCE = np.iinfo(np.int32).max


@dataclass(eq=False, slots=True)
class Nearest:
    """The nearest `k` codes of each query, ordered by (distance, id).

    Attributes:
        ids: (q, k) int64, positions in the index; -1 where fewer than `k` were found, always at the end of a row.
        distances: (q, k) int32, differing bits; 2147483647 where the id is -1.
    """

    ids: NDArray[np.int64]
    distances: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.ids)

    def row(self, query: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return the ids and distances of one query, without unfilled entries."""
        filled = self.ids[query] != NO_ID
        return self.ids[query][filled], self.distances[query][filled]

    def without(self, excluded: NDArray[np.int64]) -> "Nearest":
        """Remove one id from each row: `excluded[i]` from row i or, if it is absent, the last. Returns (q, k - 1)."""
        ids, distances = self.ids.copy(), self.distances.copy()
        unwanted = ids == excluded[:, None]
        ids[unwanted], distances[unwanted] = NO_ID, NO_DISTANCE
        order = np.argsort(unwanted, axis=1, kind="stable")[:, :-1]
        return Nearest(np.take_along_axis(ids, order, 1), np.take_along_axis(distances, order, 1))


@dataclass(eq=False, slots=True)
class Within:
    """Every code within a radius of each query, ordered by (query, distance, id).

    Attributes:
        offsets: (q + 1,) int64; the matches of query `i` are at `offsets[i]` to `offsets[i + 1]`.
        ids: (total,) int64, positions in the index.
        distances: (total,) int32, differing bits.
    """

    offsets: NDArray[np.int64]
    ids: NDArray[np.int64]
    distances: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.offsets) - 1

    def row(self, query: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return the ids and distances of one query."""
        matches = slice(self.offsets[query], self.offsets[query + 1])
        return self.ids[matches], self.distances[matches]

    def without(self, excluded: NDArray[np.int64]) -> "Within":
        """Remove the id `excluded[i]` from the matches of query i."""
        owners = np.repeat(np.arange(len(self)), np.diff(self.offsets))
        kept = self.ids != excluded[owners]
        offsets = np.zeros(len(self) + 1, np.int64)
        np.cumsum(np.bincount(owners[kept], minlength=len(self)), out=offsets[1:])
        return Within(offsets, self.ids[kept], self.distances[kept])

    @classmethod
    def sort(
        cls,
        queries: int,
        owners: NDArray[np.integer[Any]],
        ids: NDArray[np.integer[Any]],
        distances: NDArray[np.number[Any]],
    ) -> "Within":
        """Sort unordered matches, given as the query, position and distance of each: three arrays (total,)."""
        order = np.lexsort((ids, distances, owners))
        offsets = np.zeros(queries + 1, dtype=np.int64)
        np.cumsum(np.bincount(owners, minlength=queries), out=offsets[1:])
        return cls(offsets, ids[order].astype(np.int64), distances[order].astype(np.int32))
