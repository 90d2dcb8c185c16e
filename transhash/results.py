"""Arrays that a backend's search returns: positions and distances, without paths."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_ID = -1
NO_DISTANCE = np.iinfo(np.int32).max


@dataclass(frozen=True, eq=False)
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
        """Return the ids and distances found for one query, without unfilled places."""
        found = self.ids[query] != NO_ID
        return self.ids[query][found], self.distances[query][found]


@dataclass(frozen=True, eq=False)
class Within:
    """Every code within a radius of each query, ordered by (distance, id) inside a query.

    Attributes:
        offsets: (q + 1,) int64; query `i` owns the places `offsets[i]` to `offsets[i + 1]`.
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
        """Return the ids and distances found for one query."""
        own = slice(self.offsets[query], self.offsets[query + 1])
        return self.ids[own], self.distances[own]

    @classmethod
    def sort(
        cls,
        queries: int,
        owners: NDArray[np.integer[Any]],
        ids: NDArray[np.integer[Any]],
        distances: NDArray[np.number[Any]],
    ) -> "Within":
        """Order finds as they came: `owners`, `ids` and `distances` (total,) name query, position and bits."""
        order = np.lexsort((ids, distances, owners))
        offsets = np.zeros(queries + 1, dtype=np.int64)
        np.cumsum(np.bincount(owners, minlength=queries), out=offsets[1:])
        return cls(offsets, ids[order].astype(np.int64), distances[order].astype(np.int32))
