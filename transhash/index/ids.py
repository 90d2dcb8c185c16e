"""The ids of an index's rows: each is used only once, and stays with its row."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as serialize

from ..errors import IndexFolderError, SelectionError, one_line
from ..system.files import display
from .manifest import MAX_ID

UNKNOWN = -1


@dataclass(frozen=True, eq=False)
class RowIds:
    """Ascending ids of the rows 0 to count - 1, at least one.

    Kept as runs of consecutive ids: 16 bytes per run, not 8 per row.

    Attributes:
        starts: first row of each run, (s,) int64, ascending from 0.
        firsts: its id, (s,) int64.
        count: number of rows.
        next: the id of the next row, above all ids ever used.
    """

    starts: NDArray[np.int64]
    firsts: NDArray[np.int64]
    count: int
    next: int

    @classmethod
    def first(cls, count: int) -> "RowIds":
        """Return the ids 0 to count - 1."""
        return cls(np.zeros(1, np.int64), np.zeros(1, np.int64), count, count)

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.count

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the ids of rows, of any shape; -1 for -1."""
        if self._are_rows:
            return rows
        if len(self.starts) == 1:
            return np.where(rows < 0, rows, rows + self.firsts[0])
        run = np.searchsorted(self.starts, rows, side="right") - 1
        return np.where(rows < 0, UNKNOWN, self.firsts[run] + rows - self.starts[run])

    @cached_property
    def _are_rows(self) -> bool:
        return len(self.starts) == 1 and not self.firsts[0]

    def rows(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows that have the given ids (m,). Raises SelectionError for an id that no row has."""
        run = np.searchsorted(self.firsts, ids, side="right") - 1
        ends = np.append(self.starts[1:], self.count)
        rows = self.starts[run] + ids - self.firsts[run]
        unknown = np.asarray(ids)[(run < 0) | (rows >= ends[run])]
        if len(unknown):
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            raise SelectionError(f"id {unknown[0]}{more}: not in the index; it was removed, or never existed")
        return rows

    @classmethod
    def given(cls, ids: NDArray[np.int64]) -> "RowIds":
        """Take the ascending ids (count,) of rows; the next id follows the last one."""
        starts = np.flatnonzero(np.diff(ids, prepend=-2) != 1)
        return cls(starts, ids[starts], len(ids), int(ids[-1]) + 1 if len(ids) else 0)

    def keep(self, kept: NDArray[np.bool_]) -> "RowIds":
        """Return the ids of the rows where a mask (count,) is true."""
        return self.without(np.flatnonzero(~kept))

    def without(self, rows: NDArray[np.int64]) -> "RowIds":
        """Return the ids of all rows but some (m,), ascending."""
        starts = np.union1d(self.starts, rows + 1)  # of runs between the rows, which may be empty
        starts = starts[~np.isin(starts, rows) & (starts < self.count)]
        firsts = self.of(starts)
        starts = starts - np.searchsorted(rows, starts)
        breaks = np.append(True, np.diff(firsts - starts) != 0)[: len(starts)]
        return RowIds(starts[breaks], firsts[breaks], self.count - len(rows), self.next)

    def extend(self, count: int) -> "RowIds":
        """Return these ids and those of `count` new rows after them.

        Raises SelectionError if there are not enough ids left.
        """
        if not count:
            return self
        if count > MAX_ID - self.next:
            raise SelectionError(f"{count} new rows: only {MAX_ID - self.next} ids are left; build the index again")
        starts, firsts = np.append(self.starts, self.count), np.append(self.firsts, self.next)
        breaks = np.append(True, np.diff(firsts - starts) != 0)
        return RowIds(starts[breaks], firsts[breaks], self.count + count, self.next + count)

    def save(self, path: Path) -> None:
        """Write the runs; the manifest stores the count and the next id."""
        path.write_bytes(serialize({"starts": self.starts, "firsts": self.firsts}))

    @classmethod
    def load(cls, path: Path, count: int, following: int) -> "RowIds":
        """Read the runs that `save` wrote for `count` rows; `following` is the next id. Raises IndexFolderError."""
        try:
            stored = load_file(path)
            ids = cls(stored["starts"], stored["firsts"], count, following)
            ids._check()
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise IndexFolderError(
                f"{display(path)}: damaged ids ({one_line(error)}); build the index again"
            ) from None
        return ids

    def _check(self) -> None:
        """Raise ValueError unless every row has an id above that of the row before it, and below `next`."""
        starts, firsts = self.starts, self.firsts
        if {starts.dtype, firsts.dtype} != {np.dtype(np.int64)} or starts.ndim != 1 or starts.shape != firsts.shape:
            raise ValueError("not runs of int64")
        lengths = np.diff(starts, append=self.count)
        if not len(starts) or starts[0] or (starts < 0).any() or (lengths <= 0).any():
            raise ValueError(f"not runs of {self.count} rows")
        if (firsts < 0).any() or (np.diff(firsts, append=self.next) < lengths).any():
            raise ValueError("ids do not ascend")
