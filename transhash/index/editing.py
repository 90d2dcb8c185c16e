"""Change an index folder. Memory use does not grow with the index, except for masks of one byte per row.

A few changes are kept beside the data folder (`patch`), so their cost depends only on their number. When there are
many, or the index is small, a new data folder is written. Either way, replacing the manifest makes the change.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import backends
from ..backends.contract import Rewriting
from ..backends.rows import Joined, Selected
from ..codes import UNKNOWN, Codes, CodesFile, ModelRef, Records, open_codes, open_records, opened_records
from ..codes.models import check_same_model
from ..codes.reader import RecordsFile
from ..codes.records import Layout, width_of
from ..errors import MismatchError, SelectionError
from ..system.progress import Progress
from . import differences, filters, lookup, manifest, patch, selection, stats
from .additions import NewRows
from .differences import Restated
from .filters import Filter
from .ids import RowIds
from .joined import joined_records
from .local import BACKEND, RECORDS, commit, write_rows
from .manifest import Manifest
from .rows import Added, Changes
from .survivors import Survivors

# An index of n rows is rewritten on every change if n < _LEAST; otherwise, once n / _SHARE or _MOST_CHANGES rows have
# been added or removed, or codes of _MOST_BYTES bytes have been added.
_LEAST = 1 << 16
_SHARE = 10
_MOST_CHANGES = 1 << 20
_MOST_BYTES = 1 << 25
_LOOKED_UP = 1 << 14  # new rows whose paths are looked up one by one

Blocks = Iterable[tuple[int, Records]]


@contextmanager
def edit(folder: Path) -> Iterator["FolderEdit | None"]:
    """Open an index folder to change it; yield None if its type can only be changed in memory.

    No other process can change it meanwhile.

    Raises IndexFolderError or CodesError if it is not an index or damaged; OutputError if another process writes it.
    """
    manifest.read(folder)
    with manifest.writing(folder) as data, ExitStack() as resources:
        stored = manifest.read(folder)
        yield FolderEdit(folder, stored, data, resources) if _rewritable(stored) else None


def _rewritable(stored: Manifest) -> bool:
    if lookup.NAME in stored.files:  # known without loading the backend
        return True
    backend: Any = backends.load(stored.backend)
    return issubclass(backend, Rewriting) and backend.rewrites(str(stored.info.get("type")))


class FolderEdit:
    """An index folder that is being changed: `add`, `remove` and `sync` are those of `Collection`."""

    def __init__(self, folder: Path, stored: Manifest, data: Path, resources: ExitStack) -> None:
        """Open the folder; use `edit` instead."""
        self._folder = folder
        self._stored = stored
        self._new_data = data
        self._resources = resources
        self._data = folder / stored.data
        if stored.changes:
            manifest.verify_files(folder / stored.changes.data, stored.changes.files)
        self._verify(patch.IDS, RECORDS)
        self._patch = patch.read(folder, stored)
        self.ids = patch.ids(folder, stored)
        self._file: RecordsFile = resources.enter_context(opened_records(self._data / RECORDS, stored.stored))
        if not stored.changes:  # an earlier version's manifest does not have the root
            self._patch = replace(self._patch, records=Records([], self._file.root))
        self._split = len(self._patch.left)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._patch)

    @property
    def root(self) -> bytes:
        """The folder that paths are relative to; empty if there are several."""
        return self._patch.records.root

    @cached_property
    def records(self) -> Records:
        """Paths and labels of all rows; labels are in memory."""
        found = open_records(self._data / RECORDS, self._stored.stored)
        return joined_records(found, self._patch.left, self._patch.changed, self._patch.records)

    def find(self, paths: set[bytes]) -> dict[bytes, list[int]]:
        """Return the rows with the given full paths."""
        found: dict[bytes, list[int]] = {}
        if lookup.NAME not in self._stored.files:
            return filters.rows_of(self.records, paths)
        self._verify(lookup.NAME)
        wanted, left = Records(list(paths)), self._patch.left
        places = lookup.candidates(self._data / lookup.NAME, wanted, left.count)
        places = places[~left.gone(places)]
        rows = [*zip(left.rows(places).tolist(), self._file.pick(places), strict=True)]
        if self._patch.folder:
            added = lookup.candidates(self._patch.folder / lookup.NAME, wanted, len(self._patch.codes))
            records = self._patch.records
            whole = (os.path.join(records.root, path) for path in records.paths_of(added))
            rows += zip((self._split + added).tolist(), whole, strict=True)
        for row, path in rows:
            if path in paths:
                found.setdefault(path, []).append(row)
        return found

    def add(self, parts: Sequence[Codes | Path], replace: bool, progress: Progress) -> Added:
        """Add rows, as `Collection.add`."""
        new = [NewRows.all(self._opened(part)) for part in parts]
        for part in new:
            check_same_model(part.model, self._model, "codes", "index")
        total = sum(len(part.codes) for part in new)
        gone, again = self._replaced(new, total, replace)
        ends = np.cumsum([0, *(len(part.codes) for part in new)]).tolist()
        chosen = [NewRows(part.codes, ~again[slice(*ends[place : place + 2])]) for place, part in enumerate(new)]
        dropped = np.flatnonzero(again)
        ids = self.ids.extend(total).without(np.concatenate([gone, len(self) + dropped]))
        self._apply(gone, chosen, ids, None)
        progress(total, 0)
        return Added(total, len(gone) + len(dropped))

    def remove(self, where: Sequence[Filter]) -> int:
        """Remove rows, as `Collection.remove`."""
        mask = filters.any_of(self, where)
        gone = np.flatnonzero(mask)
        if len(gone) == len(self):
            raise SelectionError("this would remove every row; delete the index folder instead")
        self._apply(gone, [], self.ids.without(gone), None)
        return len(gone)

    def sync(self, codes: Codes | Path, progress: Progress) -> Changes:
        """Make the index hold the rows of `codes`, as `Collection.sync`."""
        wanted = NewRows.all(self._opened(codes))
        check_same_model(wanted.model, self._model, "codes", "index")
        if not len(wanted.codes):
            raise MismatchError("no codes to sync with; delete the folder instead")
        with Restated(len(self)) as restated:
            found = differences.difference(
                self._blocks(), len(self), wanted.blocks(), len(wanted.codes), self._stored.bits // 8, restated
            )
            count = int(np.count_nonzero(found.new))
            ids = self.ids.without(found.gone).extend(count)
            self._apply(found.gone, [NewRows(wanted.codes, found.new)], ids, restated)
        progress(count, 0)
        return Changes(count - found.changed, len(found.gone) - found.changed, found.changed)

    def compact(self) -> None:
        """Write the changes that are kept beside the index into it."""
        if self._stored.changes:
            self._rewrite(np.empty(0, np.int64), [], self.ids, None)

    @property
    def _model(self) -> ModelRef:
        return ModelRef(self._stored.model, self._stored.model_digest, self._stored.bits)

    def _opened(self, codes: Codes | Path) -> Codes | CodesFile:
        if isinstance(codes, Codes):
            return codes
        return self._resources.enter_context(open_codes(codes, embeddings=False))

    def _verify(self, *names: str) -> None:
        manifest.verify_files(self._data, self._stored.files, names)

    def _replaced(
        self, new: list[NewRows], total: int, replacing: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the rows whose paths are among the new ones, and which of these a later part has again.

        Raises SelectionError if there are any, unless `replacing`.
        """
        few = total <= _LOOKED_UP and lookup.NAME in self._stored.files
        here: Blocks = () if few else self._records()
        found, again = differences.same_paths(here, 0 if few else len(self), [part.records() for part in new], total)
        gone = np.flatnonzero(found)
        if few:
            paths = {path for part in new for block in part.records() for path in block.full_paths()}
            rows = self.find(paths).values()
            gone = np.unique(np.array([row for matches in rows for row in matches], np.int64))
        count = len(gone) + int(np.count_nonzero(again))
        if count and not replacing:
            path = self.records.path(int(gone[0])) if len(gone) else _nth_path(new, int(again.argmax()))
            raise selection.already_there(path, count, "the index")
        return gone, again

    def _records(self) -> Iterator[tuple[int, Records]]:
        """Yield the first row and the records of consecutive blocks of all rows, in memory."""
        return chain(self._stored_records(), self._added_records())

    def _stored_records(self) -> Iterator[tuple[int, Records]]:
        left, (places, sizes, mtimes), start = self._patch.left, self._patch.changed, 0
        known = [stats.Stored(self._data, column, left.count) for column in (0, 1)] if self._has_stats else []
        for first, block in self._file.blocks():
            span = slice(first, first + len(block))
            if known:
                block = replace(block, sizes=known[0][span], mtimes=known[1][span])
            changed = slice(*np.searchsorted(places, [span.start, span.stop]))
            block = _restated(block, places[changed] - first, sizes[changed], mtimes[changed])
            mask = left.mask(span)
            if mask.any():
                yield start, block if mask.all() else block.take(mask)
                start += int(np.count_nonzero(mask))

    def _added_records(self) -> Iterator[tuple[int, Records]]:
        start = self._split
        for block in self._patch.records.blocks():
            yield start, block
            start += len(block)

    @property
    def _has_stats(self) -> bool:
        return stats.NAME in self._stored.files

    def _blocks(self) -> Iterator[tuple[int, Codes]]:
        """Yield the first row and the codes of consecutive blocks of all rows, in memory."""
        self._verify_backend()
        with self._backend().saved_codes(self._data / BACKEND) as saved:
            left = self._patch.left
            codes = Joined([Selected(saved, left.mask(slice(0, left.count))), self._patch.codes])
            for start, block in self._records():
                yield start, Codes(codes[start : start + len(block)], block, self._model)

    def _backend(self) -> Any:
        return backends.load(self._stored.backend)

    def _verify_backend(self) -> None:
        self._verify(stats.NAME, *(name for name in self._stored.files if name.startswith(f"{BACKEND}/")))

    def _apply(self, gone: NDArray[np.int64], new: list[NewRows], ids: RowIds, restated: Restated | None) -> None:
        """Remove and add rows, and change sizes and times of some that stay; `ids` are those of the result."""
        new = [part for part in new if part.chosen.any()]
        if not (len(gone) or new or restated):
            return
        stored = int(np.searchsorted(gone, self._split))  # rows of the data folder that go
        removed = len(self._patch.left.removed) + stored
        added = len(ids) - (self._patch.left.count - removed)
        changed = self._patch.changed.shape[1] + len(restated or ())
        if max(removed, added, changed) > _limit(self._stored):
            self._rewrite(gone, new, ids, restated)
        else:
            self._keep_beside(gone, new, ids, restated)

    def _keep_beside(
        self, gone: NDArray[np.int64], new: list[NewRows], ids: RowIds, restated: Restated | None
    ) -> None:
        """Write all changes beside the data folder."""
        left, codes = self._remaining(gone)
        changed = self._changed(restated)
        written = patch.Patch(
            left,
            changed[:, ~left.gone(changed[0])],
            np.concatenate([codes, *(part.packed()[:] for part in new)]),
            self._patch.records,
        )
        layout = self._layout(new)
        blocks = _staying(self._added_records(), gone, restated)
        files = patch.write(self._new_data, written, _fitted(blocks, new, layout), ids)
        changes = manifest.Changes(self._new_data.name, files, left.count, len(written.codes))
        root = os.fsdecode(layout.root)
        manifest.commit(
            self._folder, replace(self._stored, count=len(ids), next_id=ids.next, root=root, changes=changes)
        )

    def _rewrite(self, gone: NDArray[np.int64], new: list[NewRows], ids: RowIds, restated: Restated | None) -> None:
        """Write a new data folder with all changes."""
        left, codes = self._remaining(gone)
        self._verify_backend()
        (self._new_data / BACKEND).mkdir()
        added = Joined([codes, *(part.packed() for part in new)])
        keep = left.mask(slice(0, left.count))
        built = self._backend().rewrite(self._data / BACKEND, keep, added, self._new_data / BACKEND)
        layout = self._layout(new)
        write_rows(self._new_data, _fitted(_staying(self._records(), gone, restated), new, layout), built, ids)
        commit(self._folder, self._new_data, self._stored.backend, built, self._model, layout.root, ids.next)

    def _remaining(self, gone: NDArray[np.int64]) -> tuple[Survivors, NDArray[np.uint8]]:
        """Return the stored rows, and the codes of the added ones, that are left after rows have been removed."""
        stored = gone[gone < self._split]
        return self._patch.left.without(stored), np.delete(self._patch.codes, gone[len(stored) :] - self._split, 0)

    def _changed(self, restated: Restated | None) -> NDArray[np.int64]:
        """Return the stored rows with other sizes and times, as `Patch.changed`."""
        parts = [self._patch.changed]
        for rows in restated or ():
            stored = rows[rows["row"] < self._split]
            parts.append(np.stack([self._patch.left.places(stored["row"]), stored["size"], stored["mtime"]]))
        changed = np.concatenate(parts, axis=1)[:, ::-1]  # the latest first
        return changed[:, np.unique(changed[0], return_index=True)[1]]

    def _layout(self, new: list[NewRows]) -> Layout:
        added = self._patch.records
        return Layout.of(
            [
                (self._file.root, self._file.label_names, self._file.width),
                (added.root, added.label_names, width_of(added.labels)),
                *(part.layout for part in new),
            ]
        )


def _limit(stored: Manifest) -> int:
    """Return how many rows may be added, removed or changed beside the data folder."""
    if stored.stored < _LEAST or lookup.NAME not in stored.files:
        return 0
    return min(stored.stored // _SHARE, _MOST_CHANGES, 8 * _MOST_BYTES // stored.bits)


def _staying(blocks: Blocks, gone: NDArray[np.int64], restated: Restated | None) -> Iterator[Records]:
    """Yield the records of the rows that stay, with their new sizes and times."""
    parts = iter(restated or ())
    known = np.empty(0, differences.RESTATED)
    for start, block in blocks:
        stop = start + len(block)
        while not len(known) or known["row"][-1] < stop:
            part = next(parts, None)
            if part is None:
                break
            known = np.concatenate([known[known["row"] >= start], part])
        changes = known[slice(*np.searchsorted(known["row"], [start, stop]))]
        block = _restated(block, changes["row"] - start, changes["size"], changes["mtime"])
        keep = np.ones(len(block), np.bool_)
        keep[gone[slice(*np.searchsorted(gone, [start, stop]))] - start] = False
        yield block if keep.all() else block.take(keep)


def _restated(
    block: Records, rows: NDArray[np.int64], sizes: NDArray[np.int64], mtimes: NDArray[np.int64]
) -> Records:
    """Return rows of which some (m,) have other sizes and times."""
    if not len(rows):
        return block
    columns = [
        np.full(len(block), UNKNOWN, np.int64) if old is None else np.array(old)
        for old in (block.sizes, block.mtimes)
    ]
    columns[0][rows], columns[1][rows] = sizes, mtimes
    return replace(block, sizes=columns[0], mtimes=columns[1])


def _fitted(blocks: Iterable[Records], new: list[NewRows], layout: Layout) -> Iterator[Records]:
    """Yield records and those of new rows in one layout; at least one block."""
    yield layout.fit(Records([], layout.root))
    for block in chain(blocks, *(part.records() for part in new)):
        yield layout.fit(block)


def _nth_path(new: list[NewRows], number: int) -> str:
    """Return the path of a new row."""
    for part in new:
        for block in part.records():
            if number < len(block):
                return block.path(number)
            number -= len(block)
    raise IndexError(number)
