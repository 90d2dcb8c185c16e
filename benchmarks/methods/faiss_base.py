"""The common part of FAISS's indexes: binary ones over codes, others over vectors."""

import math
from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..collection import Collection
from .base import Ids, Method

_FILE = "index.faiss"


def lists(count: int) -> int:
    """Return how many inverted lists FAISS recommends for `count` rows."""
    return max(1, min(int(4 * math.sqrt(count)), count // 39))


class FaissMethod(Method):
    """An index of FAISS, by the name that its factory takes."""

    package = "faiss"

    def __init__(self, threads: int, uri: str = "") -> None:
        """Take the number of threads."""
        import faiss

        super().__init__(threads, uri)
        faiss.omp_set_num_threads(threads)
        self._faiss = faiss
        self.index: Any = None

    @abstractmethod
    def factory(self, collection: Collection) -> str:
        """Return FAISS's name of the index for a collection."""

    def build(self, collection: Collection) -> dict[str, Any]:
        """Train and fill it."""
        name, floats = self.factory(collection), self.over == "vectors"
        rows = np.ascontiguousarray(collection.vectors if floats else collection.codes)
        make = self._faiss.index_factory if floats else self._faiss.index_binary_factory
        self.index = make(collection.dim if floats else collection.bits, name)
        self.index.train(rows)
        self.index.add(rows)
        return {"factory": name}

    def save(self, folder: Path) -> None:
        """Write FAISS's file."""
        write = self._faiss.write_index_binary if self.over == "codes" else self._faiss.write_index
        write(self.index, str(folder / _FILE))

    def load(self, folder: Path) -> None:
        """Read it."""
        read = self._faiss.read_index_binary if self.over == "codes" else self._faiss.read_index
        self.index = read(str(folder / _FILE))

    def search(self, queries: NDArray[Any], k: int, value: int) -> Ids:
        """Search, with `value` for the search parameter."""
        self.tune(value)
        return self.index.search(queries, k)[1]

    def tune(self, value: int) -> None:
        """Set the search parameter."""
