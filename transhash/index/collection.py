"""A collection that can be searched and changed, wherever it lies: a folder here, or rows on a server.

    from transhash import collection
    from transhash.index.filters import Filter

    photos = collection.open("photos.index")  # or "milvus://localhost:19530/photos"
    found = photos.search(queries, k=10, where=Filter(globs=["cats/*"]))
    photos.rows(found.ids[0])  # their paths and labels

A server is a class named by an entry point of the group ``transhash.servers``, under the name that its locations
begin with::

    [project.entry-points."transhash.servers"]
    milvus = "milvus_backend:MilvusCollection"

A `transhash.backends.Backend` searches codes in this process and knows rows by position; the core keeps the rest in
the index folder. A server keeps codes, ids, paths, labels and the model's digest itself, so that a client needs no
memory for rows that it does not ask for. Rows have the same ids in both: int64, never given twice.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from .. import plugins
from ..codes import Codes, ModelRef, read_codes
from ..errors import BackendError
from ..progress import Progress, silent
from ..results import Nearest, Within
from . import filters, manifest
from .filters import Filter, Mask
from .index import Changes, Index

GROUP = "transhash.servers"

Params = Mapping[str, int]


@dataclass(frozen=True)
class Row:
    """What a collection says of an image: its path, and its labels: none, one or several."""

    path: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Added:
    """What `Collection.add` did: rows that came, and how many of them in place of others."""

    rows: int
    replaced: int


class Collection(Protocol):
    """Rows with an id, a code, a path and labels, all of one model.

    Changes are on disk, or the server's word is given, when a method returns. Codes come as codes files, so that they
    need not fit into memory. Filters that name nothing raise SelectionError, and other models' codes MismatchError.
    """

    model: ModelRef

    @property
    def location(self) -> str:
        """What `open` takes."""
        ...

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def search(
        self,
        queries: Codes | NDArray[np.uint8],
        k: int = 10,
        params: Params | None = None,
        where: Filter | None = None,
    ) -> Nearest:
        """Return the ids of the min(k, n) nearest rows of each query, ordered by (distance, id).

        With a filter n is the number of rows that pass it.
        """
        ...

    def range_search(
        self,
        queries: Codes | NDArray[np.uint8],
        radius: int,
        params: Params | None = None,
        where: Filter | None = None,
    ) -> Within:
        """Return the ids of every row at distance <= radius of each query, ordered by (distance, id)."""
        ...

    def rows(self, ids: NDArray[np.int64]) -> list[Row]:
        """Return what belongs to some ids (m,), in their order. Raises SelectionError for one that no row has."""
        ...

    def matching(self, where: Sequence[Filter], most: int) -> tuple[int, list[str]]:
        """Return how many rows pass one of the filters, and the paths of the first `most` of them."""
        ...

    def add(self, files: Sequence[Path], *, replace: bool = False, report: Progress = silent) -> Added:
        """Add the rows of codes files, with ids above all that were ever given.

        Raises SelectionError, before it changes anything, if a path of a file is there already, unless such rows
        shall be replaced.
        """
        ...

    def remove(self, where: Sequence[Filter]) -> int:
        """Take away the rows that pass one of the filters; return how many. SelectionError if none would be left."""
        ...

    def sync(self, file: Path, report: Progress = silent) -> Changes:
        """Make the collection hold what a codes file holds.

        Rows that are in both with the same path, code and labels keep their ids; others go or come.
        """
        ...

    def verify(self, report: Progress = silent) -> Iterator[str]:
        """Look at every row, and yield what is wrong, a line each."""
        ...

    def info(self) -> dict[str, int | str]:
        """Describe it: ``backend``, ``type``, ``codes``, ``bits``, ``model``, ``digest``, and what else there is."""
        ...


class Server(Collection, Protocol):
    """A collection on a server, as its entry point's class makes it."""

    types: ClassVar[tuple[str, ...]]
    """The index types it can build; the first is the default."""

    @classmethod
    def open(cls, location: str) -> Self:
        """Open what lies at a location. Raises BackendError if nothing does, or it is not ours."""
        ...

    @classmethod
    def build(
        cls,
        codes: Path,
        uri: str,
        name: str,
        *,
        type: str | None = None,
        params: Params | None = None,
        report: Progress = silent,
    ) -> Self:
        """Make a collection of a codes file's rows, whose ids count from 0; go on where an earlier call was stopped.

        What is there under the name stays: BackendError, unless it is a load of this very file that was stopped.
        """
        ...


def is_server(location: str | Path) -> bool:
    """Return whether a location is on a server."""
    return "://" in str(location)


def open(location: str | Path, mmap: bool = False) -> Collection:
    """Open an index folder, or the collection of a server.

    Args:
        location: a folder, or ``NAME://…`` with the name of a server's entry point, or ``NAME+https://…``.
        mmap: map a folder's codes instead of reading them.

    Raises what `Index.open` does, and BackendError for a server that is not installed, or cannot be reached.
    """
    if not is_server(location):
        return Folder(location, mmap)
    if mmap:
        raise BackendError(f"{location}: is on a server, which holds the codes itself; only a folder can be mapped")
    return load(str(location).partition("://")[0].partition("+")[0]).open(str(location))


def load(name: str) -> type[Server]:
    """Return the class registered under `name`. Raises BackendError if none is, or if it does not import."""
    return cast("type[Server]", plugins.load(GROUP, name, "server", f"pip install '{{package}}[{name}]'"))


class Folder:
    """An index folder as a collection; the `Index` in it is opened when it is first needed."""

    def __init__(self, folder: str | Path, mmap: bool = False) -> None:
        """Take a folder that `Index.save` wrote. Raises IndexFolderError if it is none."""
        self._folder = Path(folder)
        self._mmap = mmap
        self._index: Index | None = None
        stored = manifest.read(self._folder)
        self.model = ModelRef(stored.model, stored.model_digest, stored.bits)

    @property
    def location(self) -> str:
        """The folder."""
        return str(self._folder)

    @property
    def index(self) -> Index:
        """The index in the folder."""
        if self._index is None:
            self._index = Index.open(self._folder, self._mmap)
        return self._index

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.index)

    def search(
        self,
        queries: Codes | NDArray[np.uint8],
        k: int = 10,
        params: Params | None = None,
        where: Filter | None = None,
    ) -> Nearest:
        """Return the ids of the min(k, n) nearest rows of each query, ordered by (distance, id)."""
        return self.index.search(queries, k, params, self._mask(where))

    def range_search(
        self,
        queries: Codes | NDArray[np.uint8],
        radius: int,
        params: Params | None = None,
        where: Filter | None = None,
    ) -> Within:
        """Return the ids of every row at distance <= radius of each query, ordered by (distance, id)."""
        return self.index.range_search(queries, radius, params, self._mask(where))

    def rows(self, ids: NDArray[np.int64]) -> list[Row]:
        """Return what belongs to some ids (m,), in their order."""
        return [Row(self.index.path(id), self.index.labels(id)) for id in ids.tolist()]

    def matching(self, where: Sequence[Filter], most: int) -> tuple[int, list[str]]:
        """Return how many rows pass one of the filters, and the paths of the first `most` of them."""
        passed = _any(self.index, where)
        return int(passed.sum()), [self.index.records.path(row) for row in passed.nonzero()[0][:most].tolist()]

    def add(self, files: Sequence[Path], *, replace: bool = False, report: Progress = silent) -> Added:
        """Add the rows of codes files: all of them, or none if one is refused."""
        with Index.edit(self._folder) as index:
            before = len(index)
            rows = sum(len(index.add(read_codes(file), replace=replace)) for file in files)
        self._index = index
        return Added(rows, before + rows - len(index))

    def remove(self, where: Sequence[Filter]) -> int:
        """Take away the rows that pass one of the filters; return how many."""
        with Index.edit(self._folder) as index:
            gone = _any(index, where)
            index.remove(gone)
        self._index = index
        return int(gone.sum())

    def sync(self, file: Path, report: Progress = silent) -> Changes:
        """Make the index hold what a codes file holds."""
        with Index.edit(self._folder) as index:
            done = index.sync(read_codes(file))
        self._index = index
        return done

    def verify(self, report: Progress = silent) -> Iterator[str]:
        """Compare every file with its checksum, and open the index."""
        problems = list(manifest.problems(self._folder, manifest.read(self._folder)))
        yield from problems
        if not problems:
            for _ in Index.open(self._folder).records.paths:
                pass

    def info(self) -> dict[str, int | str]:
        """Describe the index by its manifest alone."""
        return manifest.read(self._folder).described()

    def _mask(self, where: Filter | None) -> Mask | None:
        return None if where is None else filters.mask(self.index, where)


def _any(index: Index, where: Sequence[Filter]) -> Mask:
    """Return the rows that pass one of the filters."""
    passed = np.zeros(len(index), np.bool_)
    for one in where:
        found = filters.mask(index, one)
        passed |= True if found is None else found
    return passed
