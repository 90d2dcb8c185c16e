"""An index on this machine: in a folder, or in memory."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..backends import load
from ..codes import Codes, ModelRef, Records
from ..codes.queries import Queries
from ..codes.records import check_labels
from ..errors import BackendError
from ..results import Nearest, Within
from ..system.arguments import checked
from ..system.files import display
from ..system.progress import Progress, silent
from . import editing, filters, kinds, manifest, tuning
from . import queries as asking
from .contract import CodesInput, Collection, K, Params, checked_params, filters_of, row_id, whole
from .editing import FolderEdit
from .filters import Filter
from .ids import RowIds
from .local import LocalIndex
from .matches import Lookup, Matches
from .rows import Added, Changes, Row

_GPU_BACKEND = "triton"
_DEVICE = re.compile(r"cpu|auto|all|cuda(:\d+)?")


class Index(Collection):
    """A searchable collection in an index folder, or in memory.

    Create one with `Index.build` or `transhash.build_index`, open one with `Index.open` or `transhash.open`. A folder
    is read when it is first needed; each change of an index in a folder is written there before the method returns,
    and other processes see either the old or the new state. An index in memory stays there until `save`.

    Attributes:
        model: the model that made the codes.
        reason: why type ``auto`` chose the index type; empty if the type was given.
    """

    def __init__(self, local: LocalIndex | None, folder: Path | None, mmap: bool = False, reason: str = "") -> None:
        """Take an index in memory, a folder, or both; use `build` or `open` instead."""
        self._index = local
        self._folder = folder
        self._mmap = mmap
        self._device = "cpu"
        self.reason = reason
        if local:
            self.model = local.model
        else:
            assert folder is not None
            stored = manifest.read(folder)
            self.model = ModelRef(stored.model, stored.model_digest, stored.bits)

    @classmethod
    @checked
    def build(cls, codes: Codes, type: str | None = None, params: Params | None = None) -> Self:
        """Build an index in memory.

        Args:
            codes: at least one row.
            type: index type, as `transhash.build_index` takes it; flat by default.
            params: parameters of the type, such as ``{"nlist": 1024}``.

        Raises TypeError for other arguments; BackendError if there is no such type, or it refuses the parameters;
        MismatchError if there are no codes.
        """
        check_labels(codes.records)
        backend, kind = kinds.resolve(type)
        local = LocalIndex.build(codes, backend, kind, checked_params(params))
        return cls(local, None, reason=local.backend.reason)

    @classmethod
    @checked
    def open(cls, folder: str | Path, mmap: bool = False) -> Self:
        """Open an index folder.

        Args:
            folder: an index folder.
            mmap: map the codes instead of reading them, so that they may be larger than memory.

        Raises TypeError if `folder` is not a path; IndexFolderError if it is not an index folder. Damage inside is
        reported when the index is first used.
        """
        return cls(None, Path(folder), mmap)

    @property
    def location(self) -> str:
        """The folder; empty for an index in memory."""
        return "" if self._folder is None else str(self._folder)

    @property
    def local(self) -> LocalIndex:
        """The open index, with its backend and records.

        Raises IndexFolderError, BackendError or CodesError if the folder is damaged, its backend is not installed, or
        the backend cannot map it.
        """
        if self._index is None:
            assert self._folder is not None
            self._index = LocalIndex.open(self._folder, self._mmap)
            self._move()
        return self._index

    @property
    def ids(self) -> RowIds:
        """The ids of the rows; ``ids.of(rows)`` converts positions to ids."""
        return self.local.ids

    @property
    def records(self) -> Records:
        """Paths and labels of the rows, by position."""
        return self.local.records

    def __len__(self) -> int:
        """Return the number of images."""
        if self._index is None and self._folder is not None:
            return manifest.read(self._folder).count
        return len(self.local)

    def codes(self) -> Codes:
        """Return the indexed codes with their paths and labels, in memory.

        Raises BackendError if the index type does not keep its codes.
        """
        return self.local.codes()

    def snapshot(self) -> tuple[NDArray[np.int64], Codes]:
        """Return the ids (n,) and codes of all rows, in ascending order of ids, in memory."""
        local = self.local
        return local.ids.of(np.arange(len(local))), local.codes()

    @checked
    def path(self, id: int) -> str:
        """Return the path of the image with an id. Raises SelectionError if there is none."""
        return self.local.path(row_id(id))

    @checked
    def labels(self, id: int) -> tuple[str, ...]:
        """Return the labels of the image with an id. Raises SelectionError if there is none."""
        return self.local.labels(row_id(id))

    def rows(self, ids: Sequence[int] | NDArray[np.int64]) -> list[Row]:
        """Return the paths and labels of the rows with the ids, in that order. Raises SelectionError."""
        return self._lookup()(filters.checked_ids(ids))

    @checked
    def like(
        self,
        images: int | str | Path | Sequence[int | str | Path],
        k: int | None = None,
        *,
        radius: int | None = None,
        where: Filter | None = None,
        params: Params | None = None,
    ) -> Matches:
        """Find the images most like given images in the index, by their stored codes. No image matches itself."""
        local = self.local
        ids = np.array([self._id(image) for image in _several(images)], np.int64)
        packed, names = local.packed(ids), [local.path(id) for id in ids.tolist()]
        best = K if k is None and radius is None else k
        if radius is not None:
            found: Nearest | Within = self._within(packed, whole("radius", radius, 0), checked_params(params), where)
        else:
            wanted = whole("k", best, 1) + 1
            found = self._nearest(packed, wanted, checked_params(params), where)
        verdicts = self.verdicts
        if verdicts and k is None and radius is None:
            radius = verdicts.likely
        most = None if best is None else whole("k", best, 1)
        return Matches.of(found.without(ids), self._lookup(), names, (), most, verdicts, radius)

    def _id(self, image: int | str | Path) -> int:
        """Return the id of an image given by id or path; the first one if several have that path."""
        if isinstance(image, str | Path):
            return int(self.local.ids.of(filters.paths(self.local, [image]).nonzero()[0][:1])[0])
        return row_id(image)

    def _lookup(self) -> Lookup:
        local = self.local
        return partial(_rows, local.ids, local.records)

    def _nearest(self, packed: NDArray[np.uint8], k: int, params: Params, where: Filter | None) -> Nearest:
        local = self.local
        return local.nearest(packed, k, params, None if where is None else filters.mask(local, where))

    def _within(self, packed: NDArray[np.uint8], radius: int, params: Params, where: Filter | None) -> Within:
        local = self.local
        allowed = None if where is None else filters.mask(local, where)
        return local.range_search(packed, min(radius, self.model.bits), params, allowed)

    def _rerank(self, how: asking.Reranking, found: Nearest, queries: Queries) -> Nearest:
        return how.rank(self.local, found, queries)

    @checked
    def to(self, device: str) -> str:
        """Search on a GPU from now on.

        Args:
            device: ``cpu``, ``cuda``, ``cuda:0`` or another number, ``all`` GPUs together, or ``auto``: a GPU if
                there is one that can search this index.

        Returns the reason why ``auto`` stays on the CPU; empty if it does not.

        Raises BackendError if there is no such device, or the index type does not run on it.
        """
        if not _DEVICE.fullmatch(device):
            raise BackendError(f"{device!r}: choose cpu, cuda, a numbered GPU such as cuda:0, all, or auto")
        if self._device != "cpu":
            self._index = None if self._folder else self._index
        self._device = device
        self.local  # noqa: B018 - opens it
        return self._move()

    def _move(self) -> str:
        local = self._index
        if self._device == "cpu" or local is None or local.backend_name == _GPU_BACKEND:
            return ""
        gpu: Any = load(_GPU_BACKEND)
        if isinstance(local.backend, gpu):
            return ""
        try:
            local.backend = gpu.of(local.backend, None if self._device == "auto" else self._device)
        except BackendError as error:
            if self._device != "auto":
                raise
            return str(error)
        return ""

    @checked
    def matching(self, where: Filter | Sequence[Filter], limit: int = 20) -> tuple[int, list[str]]:
        """Return how many rows pass at least one of the filters, and the paths of the first `limit` of them."""
        passed = filters.any_of(self.local, filters_of(where))
        shown = passed.nonzero()[0][: whole("limit", limit, 0)]
        return int(passed.sum()), [self.local.records.path(row) for row in shown.tolist()]

    @checked
    def add(
        self, codes: CodesInput | Sequence[CodesInput], *, replace: bool = False, progress: Progress = silent
    ) -> Added:
        """Add rows, with ids above all ever used: all of them, or none if one file is refused."""
        parts = kinds.codes_inputs(codes)
        with self._in_place() as edit:
            if edit:
                return edit.add(parts, replace, progress)
        with self._editing() as index:
            before, done = len(index), 0
            for part in parts:
                done += len(index.add(kinds.in_memory(part), replace=replace))
                progress(done, 0)
        return Added(done, before + done - len(index))

    @checked
    def remove(self, where: Filter | Sequence[Filter]) -> int:
        """Remove the rows that pass at least one of the filters, and return how many."""
        chosen = filters_of(where)
        with self._in_place() as edit:
            if edit:
                return edit.remove(chosen)
        with self._editing() as index:
            gone = filters.any_of(index, chosen)
            index.remove(gone)
        return int(gone.sum())

    @checked
    def sync(self, codes: CodesInput, *, progress: Progress = silent) -> Changes:
        """Make the index hold exactly the rows of `codes`: add new ones, and remove all that `codes` lacks.

        Rows with the same path, code and labels keep their ids. To add images, call `add`.

        Raises MismatchError if the codes are empty or of another model, or of images in memory, which are named by
        position, while the index has other names; BackendError if the index type cannot remove.
        """
        wanted = kinds.codes_input(codes)
        with self._in_place() as edit:
            if edit:
                return edit.sync(wanted, progress)
        with self._editing() as index:
            return index.sync(kinds.in_memory(wanted))

    def compact(self) -> None:
        """Write changes that are kept beside the index into it."""
        with self._in_place() as edit:
            if edit:
                edit.compact()

    @checked
    def merge(self, others: Sequence["Index"], *, replace: bool = False) -> None:
        """Add the rows of other indexes of the same model, with new ids, in the order given.

        Raises BackendError if another's type does not keep its codes; otherwise the errors of `add`.
        """
        if not all(isinstance(other, Index) for other in kinds.sequence(others)):
            raise TypeError("indexes in folders or in memory are merged")
        with self._editing() as index:
            index.merge([other.local for other in others], replace=replace)

    @checked
    def save(self, folder: str | Path, *, force: bool = False) -> None:
        """Write the index as a folder, replacing an index that exists there.

        Args:
            folder: the folder to write; later changes are written there, too.
            force: replace an index of another model or image folder.

        Raises IndexFolderError if another kind of folder exists there, if an index of another model or image folder
        does and `force` is false, or if another process is writing it.
        """
        local = self.local
        if not force:
            kinds.check_same_contents(Path(folder), local.model, local.records.root)
        local.save(folder)
        self._folder = Path(folder)

    @checked
    def verify(self, *, progress: Progress = silent) -> Iterator[str]:
        """Compare every file with its checksum and open the index; yield a line for each fault."""
        if self._folder is None:
            return
        problems = list(manifest.problems(self._folder, manifest.read(self._folder)))
        yield from problems
        if not problems:
            for _ in LocalIndex.open(self._folder).records.paths:
                pass

    def info(self) -> dict[str, int | str]:
        """Describe the index; for a folder, only the manifest is read."""
        if self._folder is not None:
            return manifest.read(self._folder).described()
        local = self.local
        return {
            "backend": local.backend_name,
            **local.backend.info(),
            "codes": len(local),
            "bits": local.model.bits,
            "model": local.model.name,
            "digest": local.model.digest,
            "next_id": local.ids.next,
        }

    @checked
    def tune(
        self, recall: float = 0.95, k: int = K, *, queries: CodesInput | None = None, sample: int = 256
    ) -> tuning.Tuning:
        """Find the lowest value of the search parameter that reaches a recall, and make it the default."""
        wanted = None if queries is None else kinds.in_memory(kinds.codes_input(queries))
        k, sample, share = whole("k", k, 1), whole("sample", sample, 1), tuning.checked_recall(recall)
        with self._editing() as index:
            tuning.tunable(index.backend)
            packed = tuning.queries(index.backend, self.model, wanted, sample)
            found = tuning.tune(index.backend, packed, share, k)
            index.backend.tune(found.chosen.value)
        return found

    @contextmanager
    def _in_place(self) -> Iterator[FolderEdit | None]:
        """Yield the folder to change; None if the index is in memory, or its type must be changed in memory."""
        if self._folder is None:
            yield None
            return
        with editing.edit(self._folder) as edit:
            yield edit
            if edit:
                self._index = None  # opened again when it is needed

    @contextmanager
    def _editing(self) -> Iterator[LocalIndex]:
        """Yield the index to change; when the block ends, changes have been written to the folder."""
        if self._folder is None:
            yield self.local
            return
        with LocalIndex.edit(self._folder) as index:
            yield index
        self._index = None if self._mmap else index
        self._move()

    def __repr__(self) -> str:
        """Return one line: where it is, how many codes of how many bits, and the model."""
        where = display(self._folder) if self._folder else "in memory"
        return f"<Index {where}: {len(self)} codes of {self.model.bits} bits by {self.model.name}>"


def _several(images: Any) -> Sequence[Any]:
    """Return one image or several as a list. Raises TypeError."""
    if isinstance(images, str | Path | int | np.integer):
        return [images]
    if isinstance(images, list | tuple | np.ndarray):
        return list(images)
    raise TypeError(f"images must be ids or paths, such as 7 or ['cats/0.png'], not {type(images).__name__}")


def _rows(ids: RowIds, records: Records, wanted: NDArray[np.int64]) -> list[Row]:
    """Return the rows with the wanted ids, from the records at the time of the search."""
    return [Row(records.path(row), records.names(row)) for row in ids.rows(wanted).tolist()]
