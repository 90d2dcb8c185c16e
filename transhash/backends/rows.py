"""Parts of codes that may not fit in memory, as `CodeRows`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .contract import CodeRows

_BLOCK = 1 << 16  # rows of a selection that are read at a time


class Selected:
    """The codes of the rows that a mask selects, as `CodeRows`."""

    def __init__(self, rows: CodeRows, mask: NDArray[np.bool_]) -> None:
        """Take codes and a mask (n,)."""
        self._rows = rows
        self._mask = mask
        blocks = [mask[start : start + _BLOCK] for start in range(0, len(mask), _BLOCK)]
        self._ends = np.cumsum([0, *map(np.count_nonzero, blocks)])

    def __len__(self) -> int:
        """Return the number of codes."""
        return int(self._ends[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, bits/8)."""
        return len(self), self._rows.shape[1]

    def __getitem__(self, rows: slice) -> NDArray[np.uint8]:
        """Return the codes of a slice with step 1, in memory."""
        start, stop, _ = rows.indices(len(self))
        found, filled = np.empty((max(0, stop - start), self.shape[1]), np.uint8), 0
        for block in range(int(np.searchsorted(self._ends, start, side="right")) - 1, len(self._ends) - 1):
            if self._ends[block] >= stop:
                break
            first, count = block * _BLOCK, int(self._ends[block + 1] - self._ends[block])
            mask = self._mask[first : first + _BLOCK]
            inside = slice(max(0, start - int(self._ends[block])), min(count, stop - int(self._ends[block])))
            part = slice(filled, filled + inside.stop - inside.start)
            if count == len(mask):
                found[part] = self._rows[first + inside.start : first + inside.stop]
            elif count:
                found[part] = self._rows[first : first + len(mask)][mask][inside]
            filled = part.stop
        return found


class Joined:
    """Several codes, one after the other, as `CodeRows`."""

    def __init__(self, parts: Sequence[CodeRows]) -> None:
        """Take at least one part."""
        self._parts = parts

    def __len__(self) -> int:
        """Return the number of codes."""
        return sum(map(len, self._parts))

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, bits/8)."""
        return len(self), self._parts[0].shape[1]

    def __getitem__(self, rows: slice) -> NDArray[np.uint8]:
        """Return the codes of a slice with step 1, in memory."""
        start, stop, _ = rows.indices(len(self))
        found, first = [], 0
        for part in self._parts:
            inside = slice(max(0, start - first), min(len(part), stop - first))
            if inside.start < inside.stop:
                found.append(part[inside])
            first += len(part)
        if len(found) == 1:
            return found[0]
        return np.concatenate([np.empty((0, self.shape[1]), np.uint8), *found])
