"""Sizes and times of the image files in an index folder, by which `dedup` knows files that have changed."""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codes import UNKNOWN, Records
from ..codes.records import LazyColumn
from ..errors import IndexFolderError, one_line
from ..system.files import display

NAME = "stats.npy"  # present if a size or a time is known

_DTYPE = np.dtype("<i8")


def saved(folder: Path, blocks: Iterable[Records], count: int) -> Iterator[Records]:
    """Write the sizes and times of `count` rows while their blocks pass through: (2, count), -1 where unknown."""
    known = False
    with TemporaryFile(dir=folder) as mtimes, (folder / NAME).open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": _DTYPE.str, "fortran_order": False, "shape": (2, count)})
        for block in blocks:
            for values, column in ((block.sizes, file), (block.mtimes, mtimes)):
                written = np.full(len(block), UNKNOWN, _DTYPE) if values is None else values.astype(_DTYPE)
                column.write(written.data)
                known |= bool((written != UNKNOWN).any())
            yield block
        mtimes.seek(0)
        shutil.copyfileobj(mtimes, file)
    if not known:
        (folder / NAME).unlink()


class Stored(LazyColumn):
    """A column of the file that `saved` wrote, read in slices: the pages of a mapped file would count as memory."""

    def __init__(self, folder: Path, column: int, count: int) -> None:
        """Take the folder, and 0 for the sizes or 1 for the times of `count` rows."""
        self._path = folder / NAME
        self._start = self._path.stat().st_size - (2 - column) * count * _DTYPE.itemsize
        self.shape = (count,)

    def __getitem__(self, which: Any) -> NDArray[np.int64]:
        """Return the values of a slice with step 1, or of whatever selects values of an array."""
        start, stop = which.indices(self.shape[0])[:2] if isinstance(which, slice) else (0, self.shape[0])
        offset = self._start + start * _DTYPE.itemsize
        values = np.fromfile(self._path, _DTYPE, max(0, stop - start), offset=offset)
        return values if isinstance(which, slice) else values[which]


def attached(folder: Path, records: Records) -> Records:
    """Return records with the sizes and times that `saved` wrote, mapped and not read. Raises IndexFolderError."""
    path = folder / NAME
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        if stored.dtype != _DTYPE or stored.shape != (2, len(records)):
            raise ValueError(f"{stored.dtype} {stored.shape}")
    except (OSError, EOFError, ValueError, TypeError, SyntaxError) as error:
        raise IndexFolderError(
            f"{display(path)}: damaged sizes and times ({one_line(error)}); build the index again"
        ) from None
    return replace(records, sizes=stored[0], mtimes=stored[1])
