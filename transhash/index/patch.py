"""The changes of an index folder that are kept beside its data: rows removed, rows added, and files seen again.

Their folder holds the codes and records of the added rows, the places of the removed ones, new sizes and times of
others, and the ids of all rows of the index.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codes import Records, open_records, write_records
from ..errors import IndexFolderError, one_line
from ..system.files import display
from . import lookup, manifest, stats
from .ids import RowIds
from .manifest import Manifest
from .survivors import Survivors

RECORDS = "records.h5"
IDS = "ids.safetensors"  # missing in a data folder without changes if the ids are 0 to n - 1
_CODES, _REMOVED, _CHANGED = "codes.npy", "removed.npy", "changed.npy"


@dataclass(frozen=True, eq=False)
class Patch:
    """Changes of an index.

    Attributes:
        left: the stored rows that were not removed.
        changed: places of stored rows, ascending, and their new sizes and times, (3, m) int64.
        codes: codes of the added rows, (t, bits/8) uint8.
        records: their paths, labels, sizes and times.
        folder: where they are stored; None if there are no changes.
    """

    left: Survivors
    changed: NDArray[np.int64]
    codes: NDArray[np.uint8]
    records: Records
    folder: Path | None = None

    def __len__(self) -> int:
        """Return the number of rows of the index."""
        return len(self.left) + len(self.codes)


def read(folder: Path, stored: Manifest) -> Patch:
    """Return the changes of an index, whose files have been verified. Raises IndexFolderError or CodesError."""
    width = stored.bits // 8
    if stored.changes is None:
        empty = np.empty(0, np.int64)
        root = stored.root_bytes()
        return Patch(
            Survivors(stored.count, empty), empty.reshape(3, 0), np.empty((0, width), np.uint8), Records([], root)
        )
    data, count = folder / stored.changes.data, stored.changes.added
    gone = stored.stored + count - stored.count
    for name in (_CODES, _REMOVED, _CHANGED, IDS, RECORDS):
        if name not in stored.changes.files:
            raise IndexFolderError(f"{display(folder)}: the manifest names no {name}; build the index again")
    removed = _array(data / _REMOVED, np.int64, (gone,))
    changed = _array(data / _CHANGED, np.int64, (3, None))
    for places in (removed, changed[0]):
        if len(places) and (places[0] < 0 or places[-1] >= stored.stored or (np.diff(places) <= 0).any()):
            raise IndexFolderError(f"{display(data)}: damaged changes (places); build the index again")
    records = open_records(data / RECORDS, count)
    if stats.NAME in stored.changes.files:
        records = stats.attached(data, records)
    codes = _array(data / _CODES, np.uint8, (count, width))
    return Patch(Survivors(stored.stored, removed), changed, codes, records, data)


def ids(folder: Path, stored: Manifest) -> RowIds:
    """Return the ids of all rows of an index, whose files have been verified. Raises IndexFolderError."""
    data, names = folder / stored.folders[-1], stored.changes.files if stored.changes else stored.files
    if IDS in names:
        return RowIds.load(data / IDS, stored.count, stored.next_id)
    if stored.next_id != stored.count:
        raise IndexFolderError(f"{display(folder)}: the manifest names no {IDS}; build the index again")
    return RowIds.first(stored.count)


def write(data: Path, patch: Patch, blocks: Iterable[Records], numbers: RowIds) -> dict[str, manifest.StoredFile]:
    """Write changes into a new data folder; `blocks` are the records of the added rows, in one layout."""
    count = len(patch.codes)
    for name, values in ((_CODES, patch.codes), (_REMOVED, patch.left.removed), (_CHANGED, patch.changed)):
        np.save(data / name, values)
    write_records(data / RECORDS, lookup.saved(data, stats.saved(data, blocks, count), count))
    numbers.save(data / IDS)
    return manifest.describe(data)


def _array(path: Path, dtype: type[np.generic], shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Read an array that `numpy.save` wrote. Raises IndexFolderError if it has another type or shape."""
    try:
        found = np.load(path, allow_pickle=False)
        fits = isinstance(found, np.ndarray) and found.dtype == dtype and found.ndim == len(shape)
        if not fits or any(size not in (None, own) for size, own in zip(shape, found.shape, strict=True)):
            raise ValueError(f"{getattr(found, 'dtype', '')} {getattr(found, 'shape', '')}")
    except (OSError, EOFError, ValueError, TypeError, SyntaxError, MemoryError) as error:
        raise IndexFolderError(
            f"{display(path)}: damaged changes ({one_line(error)}); build the index again"
        ) from None
    return found
