"""An index in this process: a backend's index, the paths, labels and ids of its rows, and the model behind them.

Rows are chosen by masks here; `transhash.index.index.Index` is the API, with filters, locations and image queries.
"""

import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .. import backends
from ..backends.contract import Backend, Rewriting, Streaming
from ..codes import Codes, ModelRef, Records, open_codes, open_records, write_records
from ..codes.models import check_same_model, packed_queries
from ..errors import BackendError, IndexFolderError, MismatchError, SelectionError, TransHashError
from ..results import Nearest, Within
from ..system import files
from ..system.progress import Progress, silent
from . import comparing, filters, lookup, manifest, patch, selection, stats
from .ids import RowIds
from .joined import joined_records
from .manifest import Manifest
from .patched import Patched
from .rows import Changes

RECORDS = patch.RECORDS
BACKEND = "backend"
_SPAN = 1 << 28  # bytes of codes that are read from the backend at a time
_GAP = 1 << 14  # largest gap, in rows, between codes that are read together

Params = Mapping[str, int]


@dataclass(frozen=True)
class Built:
    """The result of `build`: the manifest, and why the backend chose the type; empty if the user chose it."""

    manifest: Manifest
    reason: str


class LocalIndex:
    """Rows that can be searched and changed, in memory or mapped.

    A row keeps its id as long as it exists, and no id is used twice: int64, ascending with the rows.

    Attributes:
        backend_name: name of the backend's entry point.
        backend: searches the codes; it identifies rows by position.
        records: paths and labels of the rows, by position.
        model: the model that made the codes.
        ids: the ids of the rows.
    """

    def __init__(self, name: str, backend: Backend, records: Records, model: ModelRef, ids: RowIds) -> None:
        """Assemble an index; use `LocalIndex.build` or `LocalIndex.open` instead."""
        self.backend_name = name
        self.backend = backend
        self.records = records
        self.model = model
        self.ids = ids

    @classmethod
    def build(
        cls, codes: Codes, backend: str = "faiss", type: str | None = None, params: Params | None = None
    ) -> Self:
        """Build an index.

        Args:
            codes: the codes to index, at least one row.
            backend: name of an installed backend.
            type: one of the backend's index types; by default its first.
            params: the type's parameters, such as ``{"nlist": 1024}``.

        Raises BackendError if the backend is missing or refuses; MismatchError if there are no codes.
        """
        _check_any(codes)
        built = backends.load(backend).build(np.ascontiguousarray(codes.packed), type=type, params=params or {})
        return cls(backend, built, codes.records, codes.model, RowIds.first(len(codes)))

    @classmethod
    def open(cls, folder: str | Path, mmap: bool = False) -> Self:
        """Open an index folder after checking every file's length and checksum.

        Args:
            folder: what `save` wrote.
            mmap: map the codes instead of reading them: they may exceed memory, and cannot be changed.

        Raises IndexFolderError, BackendError or CodesError if it is damaged, its backend is not installed, or cannot
        map it.
        """
        folder = Path(folder)
        while True:
            stored = manifest.read(folder)
            try:
                return cls._open(folder, stored, mmap)
            except (TransHashError, OSError):
                if manifest.read(folder).folders == stored.folders:  # otherwise it was replaced during the read
                    raise

    @classmethod
    @contextmanager
    def edit(cls, folder: str | Path) -> Iterator[Self]:
        """Open an index folder to change it. Other processes cannot change it meanwhile, and see all changes at once.

            with LocalIndex.edit("photos.index") as index:
                index.remove(filters.globs(index, ["cats/*"]))
                index.add(transhash.read_codes("dogs.h5"))

        The index is saved when the block ends, unless it ends with an error or nothing was changed.

        Raises the errors of `open` and `save`.
        """
        folder = Path(folder)
        manifest.read(folder)
        with manifest.writing(folder) as data:
            index = cls.open(folder)
            ids, records, info = index.ids, index.records, index.backend.info()
            yield index
            if index.ids is not ids or index.records is not records or index.backend.info() != info:
                index._write(folder, data)

    @classmethod
    def _open(cls, folder: Path, stored: Manifest, mmap: bool) -> Self:
        manifest.verify(folder, stored)
        data = folder / stored.data
        if RECORDS not in stored.files:
            raise IndexFolderError(f"{folder}: the manifest names no {RECORDS}; build the index again")
        backend = backends.load(stored.backend).load(data / BACKEND, mmap)
        if (len(backend), backend.bits) != (stored.stored, stored.bits):
            raise IndexFolderError(
                f"{folder}: holds {len(backend)} codes of {backend.bits} bits, "
                f"the manifest says {stored.stored} of {stored.bits}; build the index again"
            )
        model = ModelRef(stored.model, stored.model_digest, stored.bits)
        ids = patch.ids(folder, stored)
        records = open_records(data / RECORDS, stored.stored)
        if stats.NAME in stored.files:
            records = stats.attached(data, records)
        if stored.changes:
            changes = patch.read(folder, stored)
            records = joined_records(records, changes.left, changes.changed, changes.records)
            backend = Patched(backend, changes.left, changes.codes)
        return cls(stored.backend, backend, records, model, ids)

    def save(self, folder: str | Path) -> Manifest:
        """Write the index as a folder, replacing an index that exists there, and return its manifest.

        Raises OutputError if something else exists there or another process is writing it, OSError if it cannot be
        written.
        """
        folder = Path(folder)
        with manifest.writing(folder) as data:
            return self._write(folder, data)

    def _write(self, folder: Path, data: Path) -> Manifest:
        (data / BACKEND).mkdir()
        with files.naming(folder):
            self.backend.save(data / BACKEND)
            write_rows(data, self.records.blocks(), self.backend, self.ids)
        return commit(folder, data, self.backend_name, self.backend, self.model, self.records.root, self.ids.next)

    def __len__(self) -> int:
        """Return the number of codes."""
        return len(self.backend)

    @property
    def root(self) -> bytes:
        """The folder that paths are relative to; empty if there are several."""
        return self.records.root

    def find(self, paths: set[bytes]) -> dict[bytes, list[int]]:
        """Return the rows with the given full paths."""
        return filters.rows_of(self.records, paths)

    def search(
        self,
        queries: Codes | NDArray[np.uint8],
        k: int = 10,
        params: Params | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Nearest:
        """Return the ids of the min(k, n) nearest rows of each query, ordered by (distance, id).

        Args:
            queries: codes with their model, or packed codes (q, bits/8) uint8 that are known to fit.
            k: number of matches, at least 1.
            params: the index type's search parameters, such as ``{"nprobe": 16}``.
            allowed: the rows that may be found, (n,) bool, as `transhash.index.filters` makes it; by default all.

        Raises MismatchError if the queries are of another model or width; BackendError if the type cannot filter.
        """
        if k < 1:
            raise BackendError(f"k={k}: must be at least 1")
        if allowed is not None:
            self._check_mask(allowed)
        return self.nearest(packed_queries(queries, self.model, "the index"), k, params or {}, allowed)

    def nearest(
        self, packed: NDArray[np.uint8], k: int, params: Params, allowed: NDArray[np.bool_] | None
    ) -> Nearest:
        """Do what `search` does, with arguments that have been checked."""
        found = self.backend.search(packed, k, params, allowed)
        ids = self.ids.of(found.ids)
        return found if ids is found.ids else Nearest(ids, found.distances)

    def range_search(
        self,
        queries: Codes | NDArray[np.uint8],
        radius: int,
        params: Params | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Within:
        """Return the ids of every row at distance <= radius of each query, ordered by (distance, id).

        Arguments and errors are those of `search`.
        """
        if radius < 0:
            raise BackendError(f"radius={radius}: must not be negative")
        if allowed is not None:
            self._check_mask(allowed)
        found = self.backend.range_search(
            packed_queries(queries, self.model, "the index"), radius, params or {}, allowed
        )
        return Within(found.offsets, self.ids.of(found.ids), found.distances)

    def path(self, id: int) -> str:
        """Return the path of the image with an id. Raises SelectionError if there is none."""
        return self.records.path(self._row(id))

    def labels(self, id: int) -> tuple[str, ...]:
        """Return the labels of the image with an id: none, one or several. Raises SelectionError if there is none."""
        return self.records.names(self._row(id))

    def packed(self, ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the codes of images, (m, bits/8) uint8, in the order of their ids (m,).

        Neighbouring rows are read together, because a backend may scan all of its codes to return one.

        Raises SelectionError if an id is not in the index; BackendError if the type does not keep its codes.
        """
        rows, place = np.unique(self.ids.rows(ids), return_inverse=True)
        codes = np.empty((len(rows), self.model.bits // 8), np.uint8)
        ends = [*(np.flatnonzero(np.diff(rows) > _GAP) + 1).tolist(), len(rows)]
        start = 0
        while start < len(rows):
            first = int(rows[start])
            stop = int(np.searchsorted(rows, first + _SPAN // codes.shape[1]))
            stop = min(stop, ends[bisect_right(ends, start)])
            stretch = self.backend.reconstruct(first, int(rows[stop - 1]) + 1)
            codes[start:stop] = stretch[rows[start:stop] - first]
            start = stop
        return codes[place]

    def codes(self) -> Codes:
        """Return the indexed codes with their records, in memory.

        Raises BackendError if the index type does not keep its codes.
        """
        return Codes(self.backend.reconstruct(0, len(self)), self.records, self.model)

    def add(self, codes: Codes, *, replace: bool = False) -> NDArray[np.int64]:
        """Append rows to the index in memory; `save` or `edit` writes them to disk.

        Args:
            codes: the rows to add.
            replace: replace rows with the same paths; otherwise such a path raises SelectionError.

        Returns the new ids, (m,) int64, above all ever used.

        Raises MismatchError if the codes are of another model; SelectionError if a path is already in the index;
        BackendError if rows must be removed and the type cannot remove. The index then stays unchanged.
        """
        check_same_model(codes.model, self.model, "codes", "index")
        again = comparing.with_paths_of(self.records, codes.records)
        if again.any() and not replace:
            raise selection.already_there(self.records.path(int(again.argmax())), int(again.sum()), "the index")
        return self._change(~again, codes)

    def remove(self, gone: NDArray[np.bool_]) -> None:
        """Remove the rows where a mask (n,) is true from the index in memory; `save` or `edit` writes it to disk.

        `transhash.index.filters` makes such masks from ids, paths, globs and labels. The other rows keep their ids.

        Raises BackendError if the type cannot remove, SelectionError if no row would be left.
        """
        self._check_mask(gone)
        if gone.all():
            raise SelectionError("this would remove every row; delete the index folder instead")
        self._change(~gone)

    def sync(self, codes: Codes) -> Changes:
        """Make the index in memory hold exactly the rows of `codes`; `save` or `edit` writes it to disk.

        Rows with the same path, code and labels keep their ids, and get the sizes and times of `codes`; others are
        removed or added.

        Raises MismatchError if the codes are empty or of another model, or as `comparing.difference`; BackendError if
        the type cannot remove.
        """
        check_same_model(codes.model, self.model, "codes", "index")
        if not len(codes):
            raise MismatchError("no codes to sync with; delete the folder instead")
        here = self.codes()
        keep, new, changes = comparing.difference(here, codes)
        self.records = comparing.with_stats_of(here, codes)
        self._change(keep, new)
        return changes

    def merge(self, others: Sequence["LocalIndex"], *, replace: bool = False) -> None:
        """Append the rows of other indexes in order, with new ids; see `add`.

        Also raises BackendError if the type of another index does not keep its codes.
        """
        for other in others:
            check_same_model(other.model, self.model, "an index", "the first")
        for other in others:
            self.add(other.codes(), replace=replace)

    def _change(self, keep: NDArray[np.bool_], new: Codes | None = None) -> NDArray[np.int64]:
        """Keep the rows where a mask is true, append new ones, and return the ids of the new ones."""
        records, ids = self.records, self.ids
        if not keep.all():
            records, ids = records.take(keep), ids.keep(keep)
        if new:
            records, ids = records.join(new.records), ids.extend(len(new))
        if not keep.all():
            self.backend.remove(keep)
        if new:
            self.backend.add(np.ascontiguousarray(new.packed))
        self.records, self.ids = records, ids
        return ids.of(np.arange(keep.sum(), len(ids)))

    def _row(self, id: int) -> int:
        return int(self.ids.rows(np.array([id], np.int64))[0])

    def _check_mask(self, rows: NDArray[np.bool_]) -> None:
        if rows.dtype != np.bool_ or rows.shape != (len(self),):
            raise MismatchError(f"a mask {rows.shape} of {rows.dtype}: expected ({len(self)},) of bool")


def build(
    codes: str | Path,
    folder: str | Path,
    backend: str = "faiss",
    type: str | None = None,
    params: Params | None = None,
    report: Progress = silent,
) -> Built:
    """Build an index folder from a codes file, block by block in constant memory if the type supports that.

    Arguments are those of `LocalIndex.build` and `LocalIndex.save`, which do the same for codes in memory. `report`
    is called with the number of rows done and the total.

    Raises the errors of these, and CodesError for a damaged file.
    """
    folder, kind, done = Path(folder), backends.load(backend), 0
    with manifest.writing(folder) as data, open_codes(codes, embeddings=False) as file:
        _check_any(file)

        def advance(count: int) -> None:
            nonlocal done
            done += count
            report(done, len(file))

        if issubclass(kind, Streaming):
            with files.naming(folder):
                (data / BACKEND).mkdir()
                built = kind.stream(file, data / BACKEND, type=type, params=params, advance=advance)
                write_rows(data, file.records(), built, RowIds.first(len(file)))
                return Built(
                    commit(folder, data, backend, built, file.header.model, file.header.root, len(file)),
                    built.reason,
                )
        index = LocalIndex.build(file.whole(), backend, type, params)
        return Built(index._write(folder, data), index.backend.reason)


def _check_any(codes: Sized) -> None:
    if not len(codes):
        raise MismatchError("no codes to index; encode some images first")


def write_rows(data: Path, blocks: Iterable[Records], backend: Backend, ids: RowIds) -> None:
    """Write everything that an index stores besides the files of its backend."""
    blocks = stats.saved(data, blocks, len(backend))
    if can_patch(backend):
        blocks = lookup.saved(data, blocks, len(backend))
    write_records(data / RECORDS, blocks)
    if ids.next != len(backend):
        ids.save(data / patch.IDS)


def can_patch(backend: Backend) -> bool:
    """Return whether changes of an index may be kept beside it, to be merged later."""
    if len(backend) > lookup.MOST_ROWS or not isinstance(backend, Rewriting):
        return False
    return backend.rewrites(str(backend.info()["type"]))


def commit(
    folder: Path, data: Path, name: str, backend: Backend, model: ModelRef, root: bytes, next_id: int
) -> Manifest:
    """Commit a complete data folder as the index."""
    stored = Manifest(
        backend=name,
        count=len(backend),
        bits=backend.bits,
        model=model.name,
        model_digest=model.digest,
        next_id=next_id,
        data=data.name,
        files=manifest.describe(data),
        info=backend.info(),
        root=os.fsdecode(root),
    )
    manifest.commit(folder, stored)
    return stored
