"""The second arrow: codes -> index -> matches, with the paths and the model that belong to them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from . import backends, files, manifest
from .backends import Backend
from .codes import Codes, ModelRef, Records, open_records, write_records
from .errors import BackendError, IndexFolderError, MismatchError, TransHashError
from .manifest import Manifest
from .results import Matches, RangeMatches

_RECORDS = "records.h5"
_BACKEND = "backend"

Params = Mapping[str, int]


class Index:
    """A searchable collection: a backend's index, the paths and labels of its rows, and the model behind them."""

    def __init__(self, name: str, backend: Backend, records: Records, model: ModelRef) -> None:
        """Put the parts together; use `Index.build` or `Index.open` instead."""
        self.backend_name = name
        self.backend = backend
        self.records = records
        self.model = model

    @classmethod
    def build(
        cls, codes: Codes, backend: str = "faiss", type: str | None = None, params: Params | None = None
    ) -> Self:
        """Build an index of some codes.

        Args:
            codes: what to index, at least one row.
            backend: name of an installed backend.
            type: one of the backend's index types; its first if not given.
            params: the type's parameters, such as ``{"nlist": 1024}``.

        Raises BackendError if the backend is missing or refuses; MismatchError if there are no codes.
        """
        if not len(codes):
            raise MismatchError("no codes to index; encode some images first")
        built = backends.load(backend).build(np.ascontiguousarray(codes.codes), type=type, params=params or {})
        return cls(backend, built, codes.records, codes.model)

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open an index folder after checking every file's length and checksum.

        Raises IndexFolderError, BackendError or CodesError if it is damaged or its backend is not installed.
        """
        folder = Path(folder)
        stored = manifest.read(folder)
        try:
            return cls._open(folder, stored)
        except TransHashError:
            if manifest.read(folder).data == stored.data:
                raise
        return cls._open(folder, manifest.read(folder))  # it was replaced while we were reading

    @classmethod
    def _open(cls, folder: Path, stored: Manifest) -> Self:
        data = manifest.verify(folder, stored)
        if _RECORDS not in stored.files:
            raise IndexFolderError(f"{folder}: the manifest names no {_RECORDS}; build the index again")
        backend = backends.load(stored.backend).load(data / _BACKEND)
        if (len(backend), backend.bits) != (stored.count, stored.bits):
            raise IndexFolderError(
                f"{folder}: holds {len(backend)} codes of {backend.bits} bits, "
                f"the manifest says {stored.count} of {stored.bits}; build the index again"
            )
        model = ModelRef(stored.model, stored.model_digest, stored.bits)
        return cls(stored.backend, backend, open_records(data / _RECORDS, stored.count), model)

    def save(self, folder: str | Path) -> Manifest:
        """Write the index as a folder, replacing an index that stands there, and return its manifest.

        Raises IndexFolderError if something else stands there or another process is writing it, OSError if it cannot
        be written.
        """
        folder = Path(folder)
        with manifest.writing(folder) as data:
            (data / _BACKEND).mkdir()
            with files.naming(folder):
                self.backend.save(data / _BACKEND)
            write_records(data / _RECORDS, self.records)
            stored = Manifest(
                backend=self.backend_name,
                count=len(self.backend),
                bits=self.backend.bits,
                model=self.model.name,
                model_digest=self.model.digest,
                data=data.name,
                files=manifest.describe(data),
                info=self.backend.info(),
            )
            manifest.commit(folder, stored)
        return stored

    def __len__(self) -> int:
        """Return the number of codes."""
        return len(self.backend)

    def search(self, queries: Codes | NDArray[np.uint8], k: int = 10, params: Params | None = None) -> Matches:
        """Return the min(k, n) nearest rows of each query, ordered by (distance, row).

        Args:
            queries: codes with their model, or packed codes (q, bits/8) uint8 that are known to fit.
            k: how many, at least 1.
            params: the index type's search parameters, such as ``{"nprobe": 16}``.

        Raises MismatchError if the queries are of another model or width.
        """
        if k < 1:
            raise BackendError(f"k={k}: must be at least 1")
        return self.backend.search(self._checked(queries), k, params or {})

    def range_search(
        self, queries: Codes | NDArray[np.uint8], radius: int, params: Params | None = None
    ) -> RangeMatches:
        """Return every row at distance <= radius of each query, ordered by (distance, row).

        Raises MismatchError if the queries are of another model or width.
        """
        if radius < 0:
            raise BackendError(f"radius={radius}: must not be negative")
        return self.backend.range_search(self._checked(queries), radius, params or {})

    def path(self, row: int) -> str:
        """Return the path of the image at a row."""
        return self.records.path(int(row))

    def _checked(self, queries: Codes | NDArray[np.uint8]) -> NDArray[np.uint8]:
        if isinstance(queries, Codes):
            check_same_model(queries.model, self.model, "queries", "index")
            queries = queries.codes
        if queries.dtype != np.uint8 or queries.ndim != 2 or queries.shape[1] * 8 != self.model.bits:
            raise MismatchError(
                f"queries are {queries.dtype} of shape {queries.shape}; "
                f"the index takes uint8 of shape (q, {self.model.bits // 8})"
            )
        return np.ascontiguousarray(queries)


def check_same_model(one: ModelRef, other: ModelRef, what: str, than: str) -> None:
    """Raise MismatchError unless two sets of codes come from the same model."""
    if one.digest != other.digest or one.bits != other.bits:
        raise MismatchError(
            f"{what} made by {one.name} ({one.bits} bits, digest {one.digest[:12]}), "
            f"{than} by {other.name} ({other.bits} bits, digest {other.digest[:12]}): "
            "their codes cannot be compared; encode both with one model"
        )
