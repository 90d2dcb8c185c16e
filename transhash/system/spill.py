"""Rows that are written in any order and read back by ranges of their keys, in bounded memory."""

from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

_ROWS, _RANGES = 1 << 15, 1 << 10  # rows of a range, on average, and the most ranges
_ROWS_HELD = 1 << 16  # rows held before they are written


class Spill:
    """A temporary file of rows, each with a number from 0 to `top` - 1 that is its key.

    If the keys are spread evenly, a range has about 32,768 rows, or a 1,024th of all; one is in memory at a time.
    """

    def __init__(self, dtype: np.dtype[Any], count: int, top: int) -> None:
        """Prepare for about `count` rows of `dtype` (structured or not); keys are in ``[0, top)``."""
        self._dtype = dtype
        self.ranges = min(max(1, count // _ROWS), _RANGES)
        self._step = -(-top // self.ranges)
        self._file = TemporaryFile()  # noqa: SIM115 - __exit__ closes it
        self._runs: list[tuple[int, NDArray[np.int32]]] = []  # where a run begins, and the ends of its ranges
        self._held: list[tuple[NDArray[Any], NDArray[Any]]] = []
        self._rows = self._written = 0

    def __enter__(self) -> Self:
        """Return the spill."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the file."""
        self._file.close()

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._rows

    def append(self, rows: NDArray[Any], keys: NDArray[np.integer[Any]]) -> None:
        """Append rows (m,) with keys (m,)."""
        self._held.append((rows, keys))
        self._rows += len(rows)
        if self._rows - self._written >= _ROWS_HELD:
            self._write()

    def _write(self) -> None:
        """Write the rows that are held, ordered by their ranges."""
        if not self._held:
            return
        rows, keys = (np.concatenate(parts) for parts in zip(*self._held, strict=True))
        self._held.clear()
        if self.ranges == 1:  # the step may not fit into the type of the keys
            places = np.zeros(len(keys), np.int64)
        else:
            places = (keys // keys.dtype.type(self._step)).astype(np.int64)
        order = np.argsort(places, kind="stable")
        ends = np.searchsorted(places[order], np.arange(self.ranges + 1)).astype(np.int32)
        self._runs.append((self._written, ends))
        self._written += len(rows)
        self._file.write(rows[order].view(np.uint8).data)

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the rows of each range, by ascending ranges; in a range, in the order in which they were appended."""
        self._write()
        self._file.flush()
        for place in range(self.ranges):
            parts = [np.empty(0, self._dtype)]
            for start, ends in self._runs:
                self._file.seek((start + int(ends[place])) * self._dtype.itemsize)
                size = int(ends[place + 1] - ends[place]) * self._dtype.itemsize
                parts.append(np.frombuffer(self._file.read(size), self._dtype))
            yield np.concatenate(parts)
