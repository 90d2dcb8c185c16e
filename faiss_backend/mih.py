"""Type mih: the answers of type flat, found through hash tables over parts of the codes (`transhash.multi_index`)."""

import threading
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from transhash import multi_index
from transhash.backends import CodeRows
from transhash.errors import BackendError
from transhash.multi_index import Tables
from transhash.results import Nearest, Within

from .flat import Flat
from .kind import FILE, Mask


class Mih(Flat):
    """`faiss.IndexBinaryFlat` beside hash tables, exact.

    The tables are built again after codes were added or removed.
    """

    name = "mih"
    beside = multi_index.FILES

    def __init__(self, index: Any = None, codes: NDArray[np.uint8] | None = None, mapped: bool = False) -> None:
        """Wrap FAISS's index, or codes, as `Flat` does; the tables are built when they are first needed."""
        super().__init__(index, codes, mapped)
        self._tables: Tables | None = None
        self._building = threading.Lock()

    @classmethod
    def train(cls, codes: CodeRows, params: dict[str, int]) -> Self:
        """Return an empty index. Raises BackendError if there are too many codes for the tables."""
        _check_count(len(codes))
        return super().train(codes, params)

    @classmethod
    def read(cls, file: BinaryIO, folder: Path) -> Self:
        """Read FAISS's file and the tables."""
        kind = super().read(file, folder)
        kind._tables = Tables.load(folder, len(kind), kind.bits)
        return kind

    @classmethod
    def map(cls, path: Path, trusted: bool = False) -> Self:
        """Map FAISS's file and the tables, whose rows are checked once."""
        kind = super().map(path, trusted)
        kind._tables = Tables.load(path.parent, len(kind), kind.bits, mmap=True)
        return kind

    @classmethod
    def complete(cls, folder: Path) -> None:
        """Add the tables to a folder that holds FAISS's file. Raises BackendError for too many codes."""
        codes = Flat.map(folder / FILE).codes
        _check_count(len(codes))
        Tables.of(codes).save(folder)

    def save(self, folder: Path) -> None:
        """Write FAISS's file and the tables."""
        super().save(folder)
        self.tables.save(folder)

    @property
    def tables(self) -> Tables:
        """The tables of the codes."""
        with self._building:
            if self._tables is None:
                self._tables = Tables.of(self.codes)
            return self._tables

    def add(self, codes: NDArray[np.uint8]) -> None:
        """Append codes (n, bits/8) uint8. Raises BackendError if there would be too many for the tables."""
        _check_count(len(self) + len(codes))
        self._tables = None
        super().add(codes)

    def remove(self, keep: Mask) -> None:
        """Drop the codes where `keep` (n,) is false."""
        self._tables = None
        super().remove(keep)

    def search(self, queries: NDArray[np.uint8], k: int, value: int, allowed: Mask | None) -> Nearest:
        """Return the `k` nearest codes of each query among those allowed, ordered by (distance, id)."""
        if self._by_faiss(allowed):
            return super().search(queries, k, value, allowed)
        return multi_index.top_k(queries, self.codes, self.tables, k, allowed)

    def range_search(
        self, queries: NDArray[np.uint8], radius: int, value: int | None, allowed: Mask | None
    ) -> Within:
        """Return every allowed code at distance <= radius of each query, ordered by (distance, id)."""
        if self._by_faiss(allowed):
            return super().range_search(queries, radius, value, allowed)
        return multi_index.within(queries, self.codes, self.tables, radius, allowed)

    def details(self) -> dict[str, int | str]:
        """Return the number of tables and of distinct codes, and the size."""
        tables = self.tables
        return {
            "tables": len(tables.bits),
            "distinct": tables.distinct(len(self)),
            "bytes": self.codes.nbytes + tables.nbytes,
        }


def _check_count(count: int) -> None:
    if count > multi_index.MOST_ROWS:
        raise BackendError(
            f"{count} codes: index type mih holds at most {multi_index.MOST_ROWS}; types that hold more: flat, ivf"
        )
