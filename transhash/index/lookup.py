"""Find rows by their paths without reading the paths of all rows.

An index stores, ascending, a number for each row: the CRC-32 of its full path, then the row. Rows whose path has the
checksum of a wanted one are candidates; the caller compares their paths.
"""

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ..codes import Records
from ..codes.strings import StringTable
from ..errors import IndexFolderError
from ..system.files import display
from ..system.spill import Spill

NAME = "lookup.bin"

MOST_ROWS = 1 << 32
_ENTRY = np.dtype("<u8")
_READ = 1 << 10  # entries read at a time


def checksums(records: Records) -> NDArray[np.uint64]:
    """Return the CRC-32 (n,) of the full path of every row in memory."""
    prefix = os.path.join(records.root, b"")
    start = crc32(prefix)
    paths = StringTable.of(records.paths)[:]
    sums = (crc32(path) if path[:1] == b"/" else crc32(path, start) for path in paths)
    return np.fromiter(sums, np.uint64, len(paths))


def saved(folder: Path, blocks: Iterable[Records], count: int) -> Iterator[Records]:
    """Write the lookup of `count` rows while their blocks pass through."""
    row = 0
    with Spill(_ENTRY, count, 1 << 64) as spill:
        for block in blocks:
            entries = checksums(block) << np.uint64(32) | np.arange(row, row + len(block), dtype=np.uint64)
            spill.append(entries, entries)
            row += len(block)
            yield block
        with (folder / NAME).open("wb") as file:
            for entries in spill:
                file.write(np.sort(entries).data)


def candidates(path: Path, records: Records, count: int) -> NDArray[np.int64]:
    """Return the rows, of `count`, that may have the path of one of the given records, ascending.

    Raises IndexFolderError if the file is not a lookup of that number of rows.
    """
    wanted = np.unique(checksums(records))
    found = [np.empty(0, np.uint64)]
    with path.open("rb") as file:
        if path.stat().st_size != count * _ENTRY.itemsize:
            raise IndexFolderError(f"{display(path)}: not the paths of {count} rows; build the index again")
        view, at = _Entries(file, count), 0
        while len(wanted):
            at = bisect_left(view, int(wanted[0]) << 32, lo=at)
            block = view.read(at)
            if not len(block):
                break
            sums = block >> np.uint64(32)
            inside = wanted[: np.searchsorted(wanted, sums[-1], side="right")]
            for first, end in zip(*(np.searchsorted(sums, inside, side) for side in ("left", "right")), strict=True):
                found.append(block[first:end])
            at += len(block)
            wanted = wanted[np.searchsorted(wanted, sums[-1]) :]  # more entries may have the last checksum
    rows = np.unique(np.concatenate(found) & np.uint64(0xFFFFFFFF)).astype(np.int64)
    if len(rows) and rows[-1] >= count:
        raise IndexFolderError(f"{display(path)}: a row outside the index; build the index again")
    return rows


class _Entries:
    """The entries in a file, as `bisect` reads them."""

    def __init__(self, file: BinaryIO, count: int) -> None:
        self._file = file
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: int) -> int:
        return int.from_bytes(os.pread(self._file.fileno(), 8, place * 8), "little")

    def read(self, place: int) -> NDArray[np.uint64]:
        return np.frombuffer(os.pread(self._file.fileno(), 8 * _READ, place * 8), _ENTRY)
