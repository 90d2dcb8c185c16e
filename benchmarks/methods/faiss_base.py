"""The common base of FAISS indexes: binary indexes over codes, and float indexes over vectors."""

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
    """Return the number of inverted lists for `count` rows: 4·√count, but at least 39 rows per list."""
    return max(1, min(int(4 * math.sqrt(count)), count // 39))


class FaissMethod(Method):
    """A FAISS index, defined by its factory string."""

    package = "faiss"

    def __init__(self, threads: int, uri: str = "") -> None:
        """Import FAISS and set the number of threads."""
        import faiss

        super().__init__(threads, uri)
        faiss.omp_set_num_threads(threads)
        self._faiss = faiss
        self.index: Any = None

    @abstractmethod
    def factory(self, collection: Collection) -> str:
        """Return the factory string of the index for a collection."""

    def build(self, collection: Collection) -> dict[str, Any]:
        """Train the index and add all rows."""
        name, floats = self.factory(collection), self.over == "vectors"
        rows = np.ascontiguousarray(collection.vectors if floats else collection.codes)
        make = self._faiss.index_factory if floats else self._faiss.index_binary_factory
        self.index = make(collection.dim if floats else collection.bits, name)
        self.index.train(rows)
        self.index.add(rows)
        return {"factory": name}

    def save(self, folder: Path) -> None:
        """Write the index as a file of FAISS."""
        write = self._faiss.write_index_binary if self.over == "codes" else self._faiss.write_index
        write(self.index, str(folder / _FILE))

    def load(self, folder: Path) -> None:
        """Read the file that `save` wrote."""
        read = self._faiss.read_index_binary if self.over == "codes" else self._faiss.read_index
        self.index = read(str(folder / _FILE))

    def search(self, queries: NDArray[Any], k: int, value: int) -> Ids:
        """Set the search parameter and search."""
        self.tune(value)
        return self.index.search(queries, k)[1]

    def tune(self, value: int) -> None:
        """Set the search parameter."""
