"""The remaining stored rows followed by the added ones, as one sequence of records; only labels are copied."""

import os
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..codes import UNKNOWN, Records
from ..codes.records import Layout, LazyColumn, width_of
from ..codes.strings import STRINGS, StringTable
from .survivors import Survivors

Column = NDArray[np.int64]


def joined_records(stored: Records, left: Survivors, changed: NDArray[np.int64], added: Records) -> Records:
    """Return the rows of `stored` that are left, then those of `added`.

    Args:
        stored: rows whose paths may be in a file.
        left: which of them are left.
        changed: places of stored rows, ascending, and the sizes and times that replace theirs, (3, m) int64.
        added: further rows; their root is that of the result.
    """
    layout = Layout.of([(part.root, part.label_names, width_of(part.labels)) for part in (stored, added)])
    labels = None
    if layout.width:
        kept = None if stored.labels is None else np.delete(stored.labels, left.removed, 0)
        both = ((kept, stored.label_names, len(left)), (added.labels, added.label_names, len(added)))
        labels = np.concatenate([layout.labels(*part) for part in both])
    prefix = b"" if stored.root == added.root else os.path.join(stored.root, b"")
    return Records(
        JoinedPaths(_table(stored), left, prefix, _table(added)),
        added.root,
        labels,
        layout.names,
        _column(stored.sizes, left, changed[0], changed[1], added.sizes, len(added)),
        _column(stored.mtimes, left, changed[0], changed[2], added.mtimes, len(added)),
    )


def _table(records: Records) -> StringTable:
    return records.paths if isinstance(records.paths, StringTable) else StringTable.of(records.paths)


class JoinedPaths(StringTable):
    """Paths of a table that are left, below a folder unless they are absolute, then those of another table."""

    def __init__(self, stored: StringTable, left: Survivors, prefix: bytes, added: StringTable) -> None:
        """Take the parts; `prefix` ends in a slash unless it is empty."""
        self._stored = stored
        self._left = left
        self._prefix = prefix
        self._added = added

    def __len__(self) -> int:
        """Return the number of paths."""
        return len(self._left) + len(self._added)

    @property
    def nbytes(self) -> int:
        """Bytes of all paths, at most."""
        return self._stored.nbytes + len(self._left) * len(self._prefix) + self._added.nbytes

    def pick(self, places: NDArray[np.int64]) -> list[bytes]:
        """Return the paths at some places (m,), in that order."""
        first = places < len(self._left)
        stored = iter(self._stored.pick(self._left.places(places[first])))
        added = iter(self._added.pick(places[~first] - len(self._left)))
        return [self._whole(next(stored)) if one else next(added) for one in first.tolist()]

    def slices(self, start: int = 0, stop: int | None = None, most: int = STRINGS, extra: int = 0) -> Iterator[slice]:
        """Yield consecutive slices of at most `most` paths and 16 MiB, or of one path."""
        stop, split = len(self) if stop is None else stop, len(self._left)
        inside = self._left.span(start, min(stop, split))
        for block in self._stored.slices(inside.start, inside.stop, most, extra + len(self._prefix)):
            first, end = self._left.rows(np.array([block.start, block.stop])).tolist()
            if first < end:
                yield slice(first, end)
        for block in self._added.slices(max(start - split, 0), max(stop - split, 0), most, extra):
            yield slice(block.start + split, block.stop + split)

    def take(self, which: slice | NDArray[np.bool_]) -> StringTable:
        """Return the paths of a slice with step 1, or where a mask (n,) is true, as a table in memory."""
        if not isinstance(which, slice):
            return super().take(which)
        start, stop, _ = which.indices(len(self))
        split, parts = len(self._left), []
        inside = self._left.span(start, min(stop, split))
        for block in self._stored.slices(inside.start, inside.stop):
            mask = self._left.mask(block)
            if mask.any():
                table = self._stored.take(block)
                table = table if mask.all() else table.take(mask)
                parts.append(StringTable.of([self._whole(path) for path in table]) if self._prefix else table)
        if stop > split:
            parts.append(self._added.take(slice(max(start - split, 0), stop - split)))
        return StringTable.joined(parts)

    def _whole(self, path: bytes) -> bytes:
        return os.path.join(self._prefix, path)


class JoinedColumn(LazyColumn):
    """Sizes or times of both parts."""

    def __init__(
        self, stored: Column | None, left: Survivors, places: Column, values: Column, added: Column | None, more: int
    ) -> None:
        """Take the values of `left.count` stored rows, those that replace some of them, and those of `more` rows."""
        self._stored = stored
        self._left = left
        self._places = places
        self._values = values
        self._added = np.full(more, UNKNOWN, np.int64) if added is None else added
        self.shape = (len(left) + more,)

    def __getitem__(self, which: Any) -> NDArray[np.int64]:
        """Return the values of a slice with step 1, or whatever an array takes."""
        if not isinstance(which, slice):
            return self.__array__()[which]
        start, stop, _ = which.indices(self.shape[0])
        split = len(self._left)
        inside = self._left.span(start, min(stop, split))
        values = np.full(inside.stop - inside.start, UNKNOWN, np.int64)
        if self._stored is not None:
            values[:] = self._stored[inside]
        changed = slice(*np.searchsorted(self._places, [inside.start, inside.stop]))
        values[self._places[changed] - inside.start] = self._values[changed]
        return np.concatenate(
            [values[self._left.mask(inside)], self._added[max(start - split, 0) : max(stop - split, 0)]]
        )


def _column(
    stored: Column | None, left: Survivors, places: Column, values: Column, added: Column | None, more: int
) -> Column | None:
    if stored is None and added is None and not len(places):
        return None
    return cast(Column, JoinedColumn(stored, left, places, values, added, more))
