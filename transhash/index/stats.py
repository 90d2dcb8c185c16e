"""Sizes and times of the image files in an index folder, by which `dedup` knows files that have changed."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..codes import UNKNOWN, Records
from ..errors import IndexFolderError, one_line
from ..system.files import display

NAME = "stats.npy"  # present if a size or a time is known

_DTYPE = np.dtype("<i8")


def saved(folder: Path, blocks: Iterable[Records], count: int) -> Iterator[Records]:
    """Write the sizes and times of `count` rows while their blocks pass through: (2, count), -1 where unknown."""
    stored: Any = None
    start = 0
    for block in blocks:
        stop = start + len(block)
        for column, values in enumerate((block.sizes, block.mtimes)):
            if values is not None and (values != UNKNOWN).any():
                if stored is None:
                    stored = np.lib.format.open_memmap(folder / NAME, mode="w+", dtype=_DTYPE, shape=(2, count))
                    stored[:] = UNKNOWN
                stored[column, start:stop] = values
        start = stop
        yield block
    if stored is not None:
        stored.flush()


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
