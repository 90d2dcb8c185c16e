"""Concatenated byte strings with offsets, in memory or in a file."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from ..errors import CodesError, one_line

MAX_STRING = 1 << 16  # bytes in one stored string
STRINGS = 1 << 14  # strings read or written at a time
BLOCK_BYTES = 1 << 24  # bytes read or written at a time, unless one string is longer


class StringTable(Sequence[bytes]):
    """Concatenated byte strings: string i is `blob[offsets[i]:offsets[i + 1]]`.

    Works on arrays in memory and on HDF5 datasets, of which only the requested slices are read, so that a table may
    be larger than memory.
    """

    def __init__(self, blob: Any, offsets: Any, where: str = "") -> None:
        """Take `blob` (total,) uint8, `offsets` (n + 1,) uint64 and the file's name for messages."""
        self.blob = blob
        self.offsets = offsets
        self.where = where

    @classmethod
    def of(cls, strings: Sequence[bytes]) -> Self:
        """Concatenate strings into a table in memory."""
        if isinstance(strings, cls):
            return strings
        offsets = np.zeros(len(strings) + 1, dtype=np.uint64)
        np.cumsum([len(string) for string in strings], out=offsets[1:])
        return cls(np.frombuffer(b"".join(strings), dtype=np.uint8), offsets)

    def __len__(self) -> int:
        """Return the number of strings."""
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        """Return string `index`, or the strings of a slice with step 1.

        Raises CodesError if the file under the table is damaged there.
        """
        if isinstance(index, slice):
            table = self.take(index)
            block = table.blob.tobytes()
            return [block[place:end] for place, end in pairwise(table.offsets.tolist())]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.take(slice(index % len(self), index % len(self) + 1)).blob.tobytes()

    def pick(self, places: NDArray[np.int64]) -> list[bytes]:
        """Return the strings at some places (m,), in that order."""
        if not isinstance(self.blob, np.ndarray):
            return [self[place] for place in places.tolist()]
        starts, ends = (np.asarray(self.offsets)[places + step].tolist() for step in (0, 1))
        data = self.blob.data
        return [bytes(data[start:end]) for start, end in zip(starts, ends, strict=True)]

    def __iter__(self) -> Iterator[bytes]:
        """Yield the strings, reading a block at a time."""
        for block in self.slices():
            yield from self[block]

    def slices(self, start: int = 0, stop: int | None = None, most: int = STRINGS, extra: int = 0) -> Iterator[slice]:
        """Yield consecutive slices of at most `most` strings and 16 MiB, or of one string.

        `extra` bytes are counted for each string besides its own.
        """
        stop = len(self) if stop is None else stop
        while start < stop:
            ends = np.asarray(self.offsets[start : min(start + most, stop) + 1]).astype(np.float64)
            sizes = ends[1:] - ends[0] + extra * np.arange(1, len(ends))
            count = max(1, int((sizes <= BLOCK_BYTES).sum()))
            yield slice(start, start + count)
            start += count

    @property
    def nbytes(self) -> int:
        """Bytes of all strings."""
        return len(self.blob)

    @property
    def lengths(self) -> NDArray[np.uint64]:
        """Return the length of every string, (n,) uint64; only for a table in memory."""
        return np.diff(self.offsets)

    def take(self, which: slice | NDArray[np.bool_]) -> "StringTable":
        """Return the strings of a slice with step 1, or where a mask (n,) is true, as a table in memory.

        Raises CodesError if the file under the table is damaged there.
        """
        if not isinstance(which, slice):
            return StringTable.joined(list(self._masked(which)))
        start, stop, _ = which.indices(len(self))
        stop = max(start, stop)
        try:
            ends = np.asarray(self.offsets[start : stop + 1]).astype(np.int64)
            lengths = np.diff(ends)
            if (lengths < 0).any() or (lengths > MAX_STRING).any() or ends[-1] > len(self.blob):
                raise CodesError(f"{self._rows(start, stop)}: damaged offsets; write the file again")
            blob = np.asarray(self.blob[ends[0] : ends[-1]])
        except OSError as error:
            raise CodesError(
                f"{self._rows(start, stop)}: damaged ({one_line(error)}); write the file again"
            ) from error
        return StringTable(blob, (ends - ends[0]).astype(np.uint64))

    @classmethod
    def joined(cls, tables: Sequence["StringTable"]) -> Self:
        """Return the strings of tables in memory, one table after the other."""
        lengths = [table.lengths for table in tables]
        offsets = np.zeros(sum(map(len, tables)) + 1, dtype=np.uint64)
        np.cumsum(np.concatenate([np.empty(0, np.uint64), *lengths]), out=offsets[1:])
        return cls(np.concatenate([np.empty(0, np.uint8), *(table.blob for table in tables)]), offsets)

    def _masked(self, which: NDArray[np.bool_]) -> Iterator["StringTable"]:
        """Yield the strings where a mask (n,) is true, block by block; blocks without any are not read."""
        for block in self.slices():
            mask = which[block]
            if mask.any():
                table = self.take(block)
                offsets = np.zeros(int(mask.sum()) + 1, dtype=np.uint64)
                np.cumsum(table.lengths[mask], out=offsets[1:])
                yield StringTable(table.blob[np.repeat(mask, table.lengths.astype(np.int64))], offsets)

    def _rows(self, start: int, stop: int) -> str:
        return f"{self.where}: rows {start} to {stop - 1}" if self.where else f"rows {start} to {stop - 1}"
