"""The rows that are left of a stored part: their places in it, and their positions without gaps."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Survivors:
    """The rows that are left. A *place* counts all rows of the part, a *row* those that are left.

    Attributes:
        count: number of places.
        removed: the places that were removed, (m,) int64, ascending.
    """

    count: int
    removed: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.count - len(self.removed)

    @cached_property
    def _rows_before(self) -> NDArray[np.int64]:
        return self.removed - np.arange(len(self.removed))

    def places(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the places of rows, of any shape."""
        return rows + np.searchsorted(self._rows_before, rows, side="right")

    def rows(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows at places, of any shape, that were not removed; -1 for -1."""
        return places - np.searchsorted(self.removed, places)

    def gone(self, places: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which places, of any shape, were removed."""
        if not len(self.removed):
            return np.zeros(places.shape, np.bool_)
        at = np.searchsorted(self.removed, places).clip(max=len(self.removed) - 1)
        return self.removed[at] == places

    def span(self, start: int, stop: int) -> slice:
        """Return the places from row `start` to before row `stop`."""
        if start >= stop:
            return slice(0, 0)
        first, last = self.places(np.array([start, stop - 1])).tolist()
        return slice(first, last + 1)

    def mask(self, places: slice) -> NDArray[np.bool_]:
        """Return which places of a slice have a row."""
        left = np.ones(places.stop - places.start, np.bool_)
        inside = slice(*np.searchsorted(self.removed, [places.start, places.stop]))
        left[self.removed[inside] - places.start] = False
        return left

    def without(self, rows: NDArray[np.int64]) -> "Survivors":
        """Return the rows that are left after others (m,) have been removed."""
        return Survivors(self.count, np.union1d(self.removed, self.places(rows)))
