"""Read the codes of saved indexes of types flat, mih and ivf, and write changed ones, in constant memory.

Files are read, not mapped, so that their pages do not count as memory of this process.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from transhash.backends import CodeRows
from transhash.errors import BackendError, one_line
from transhash.system.files import display

from . import library as faiss
from .ivf import Ivf
from .kind import FILE
from .layout import IVF, IndexFileCursor, IndexFileHeader, ivf_empty
from .streaming import Advance, List, write_lists

ROWS = 1 << 17  # codes that are read at a time
_ROWS_AT_ONCE = 1 << 16  # codes of lists that are sorted at a time
_BUCKET = 1 << 18  # rows that are put in order at a time


class FileRows:
    """Codes that follow one another in a file, as `CodeRows`."""

    def __init__(self, file: BinaryIO, start: int, count: int, width: int) -> None:
        """Take an open file, and the byte where its first code begins."""
        self._file = file
        self._start = start
        self.shape = (count, width)

    def __len__(self) -> int:
        """Return the number of codes."""
        return self.shape[0]

    def __getitem__(self, rows: slice) -> NDArray[np.uint8]:
        """Return the codes of a slice with step 1, in memory."""
        start, stop, _ = rows.indices(len(self))
        width = self.shape[1]
        return _read(self._file, self._start + start * width, (max(0, stop - start), width), np.uint8)


@contextmanager
def saved_codes(folder: Path) -> Iterator[CodeRows]:
    """Open the codes of an index, by position. Raises BackendError if its file is damaged."""
    with _opened(folder) as (file, header, cursor):
        width = header.bits // 8
        if header.magic != IVF:
            yield FileRows(file, cursor.size - header.count * width, header.count, width)
            return
        with TemporaryFile() as ordered:
            _order(_Lists(file, header, cursor), ordered, header)
            yield FileRows(ordered, 0, header.count, width)


def rewrite_lists(saved: Path, keep: NDArray[np.bool_], added: CodeRows, path: Path, advance: Advance) -> None:
    """Write the file of an ivf index without some of its codes, and with others, to the lists that it has."""
    with _opened(saved) as (file, header, cursor):
        lists = _Lists(file, header, cursor)
        empty = Ivf(faiss.deserialize_index_binary(np.frombuffer(lists.empty, np.uint8)))
        removed = np.flatnonzero(~keep)
        stored: list[List] = []
        for place in range(len(lists.sizes)):
            kept = np.count_nonzero(keep[lists.ids(place)])
            stored.append((int(kept), partial(_left, lists, place, keep, removed)))
        write_lists(empty, stored, added, path, advance, ROWS)


def _left(
    lists: "_Lists", place: int, keep: NDArray[np.bool_], removed: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the codes of a list that are kept, and their new ids."""
    ids = lists.ids(place)
    kept = keep[ids]
    return lists.codes(place)[kept], ids[kept] - np.searchsorted(removed, ids[kept])


class _Lists:
    """The lists in the file of an ivf index. Raises ValueError if the file is damaged."""

    def __init__(self, file: BinaryIO, header: IndexFileHeader, cursor: IndexFileCursor) -> None:
        """Take a file whose header was read."""
        self._file = file
        self._count = header.count
        self._width = header.bits // 8
        end, self.sizes = cursor.lists(header)
        self._at = file.tell() + np.cumsum(self.sizes * (self._width + 8)) - self.sizes * (self._width + 8)
        file.seek(0)
        self.empty = ivf_empty(file.read(end))

    def codes(self, place: int) -> NDArray[np.uint8]:
        return _read(self._file, int(self._at[place]), (int(self.sizes[place]), self._width), np.uint8)

    def ids(self, place: int) -> NDArray[np.int64]:
        size = int(self.sizes[place])
        ids = _read(self._file, int(self._at[place]) + size * self._width, (size,), np.int64)
        if size and not 0 <= ids.min() <= ids.max() < self._count:
            raise ValueError("an id outside the index")
        return ids


def _order(lists: _Lists, ordered: BinaryIO, header: IndexFileHeader) -> None:
    """Write the codes of lists to a file by their ids.

    First they are written to buckets of consecutive ids, in the order of the lists; then each bucket is sorted.
    """
    width = header.bits // 8
    row = np.dtype([("id", np.int64), ("code", np.uint8, (width,))])
    starts = np.arange(0, header.count + _BUCKET, _BUCKET).clip(max=header.count)
    ends = starts[:-1].copy()
    with TemporaryFile() as buckets:
        for rows in _batches(lists, row):
            numbers = rows["id"] // _BUCKET
            order = np.argsort(numbers, kind="stable")
            places, firsts, counts = np.unique(numbers[order], return_index=True, return_counts=True)
            for place, first, count in zip(places.tolist(), firsts.tolist(), counts.tolist(), strict=True):
                buckets.seek(int(ends[place]) * row.itemsize)
                buckets.write(rows[order[first : first + count]].data)
                ends[place] += count
                if ends[place] > starts[place + 1]:
                    raise ValueError("an id is in the lists twice")
        buckets.flush()
        for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            rows = _read(buckets, start * row.itemsize, (stop - start,), row)
            codes = np.empty((stop - start, width), np.uint8)
            codes[rows["id"] - start] = rows["code"]
            ordered.write(codes.data)
    ordered.flush()


def _batches(lists: _Lists, row: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """Yield the ids and codes of lists, several lists at a time."""
    held: list[NDArray[Any]] = []
    for place, size in enumerate(lists.sizes.tolist()):
        rows = np.empty(size, row)
        rows["id"], rows["code"] = lists.ids(place), lists.codes(place)
        held.append(rows)
        if sum(map(len, held)) >= _ROWS_AT_ONCE or place + 1 == len(lists.sizes):
            yield np.concatenate(held)
            held.clear()


@contextmanager
def _opened(folder: Path) -> Iterator[tuple[BinaryIO, IndexFileHeader, IndexFileCursor]]:
    """Open the file of an index after its header, after checking its lengths. Raises BackendError."""
    path = folder / FILE
    with _blaming(path), path.open("rb") as file:
        IndexFileCursor(file).whole()
        cursor = IndexFileCursor(file)
        yield file, cursor.header(), cursor


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError, MemoryError) as error:
        problem = f"not a FAISS index, or damaged ({one_line(error)})"
        raise BackendError(f"{display(path)}: {problem}; build the index again") from None


def _read(file: BinaryIO, start: int, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    found = np.empty(shape, dtype)
    left = memoryview(found.reshape(-1).view(np.uint8).data)
    while len(left):
        count = os.preadv(file.fileno(), [left], start)
        if not count:
            raise ValueError("it ends too early")
        left, start = left[count:], start + count
    return found
