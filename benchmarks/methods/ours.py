"""The index types of TransHash, from its FAISS backend, with their defaults."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transhash import backends
from transhash.backends import Backend

from ..collection import Collection
from .base import Ids, Method, doubling

_MAX_VALUE = 1 << 12


class _TransHash(Method):
    family = "codes"
    package = "faiss"

    def __init__(self, threads: int, uri: str = "") -> None:
        """Load the FAISS backend and set the number of threads."""
        super().__init__(threads, uri)
        self._backend = backends.load("faiss")
        self._index: Backend | None = None

    @property
    def index(self) -> Backend:
        """The index, built or loaded before."""
        assert self._index is not None
        return self._index

    def parameter_values(self) -> list[int]:
        """Return powers of two in the range of the search parameter, at most 4,096."""
        parameter = self.index.search_parameter()
        low = max(1, parameter.low) if parameter else 0
        return doubling(low, min(parameter.high, _MAX_VALUE)) if parameter else [0]

    def build(self, collection: Collection) -> dict[str, Any]:
        """Build an index of the type in `name`."""
        codes = np.ascontiguousarray(collection.codes)
        self._index = self._backend.build(codes, type=self.name.removeprefix("TransHash "))
        return {
            name: value
            for name, value in self.index.info().items()
            if name not in ("type", "bytes", self.search_parameter)
        }

    def save(self, folder: Path) -> None:
        """Write the files of the backend."""
        self.index.save(folder)

    def load(self, folder: Path) -> None:
        """Read the files that `save` wrote."""
        self._index = self._backend.load(folder)

    def search(self, queries: NDArray[Any], k: int, value: int) -> Ids:
        """Search with `value` for the search parameter."""
        return self.index.search(queries, k, {self.search_parameter: value} if self.search_parameter else None).ids


class Flat(_TransHash):
    """Exact search by a linear scan."""

    name = "TransHash flat"


class Mih(_TransHash):
    """Exact search by hash tables over parts of the codes."""

    name = "TransHash mih"

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Estimate the memory of the codes and tables, and of building these."""
        return count * (bits + 16)


class Ivf(_TransHash):
    """Inverted lists of codes."""

    name = "TransHash ivf"
    search_parameter = "nprobe"

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Estimate the memory of the codes, their copies in the lists and their ids."""
        return count * (2 * bits // 8 + 16)


class Hnsw(_TransHash):
    """An HNSW graph over codes."""

    name = "TransHash hnsw"
    search_parameter = "ef"

    def parameter_values(self) -> list[int]:
        """Return powers of two from 16 to 1,024; smaller values are of no use, because k is at least 10."""
        return doubling(16, 1024)

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Estimate the memory of codes and links."""
        return count * (bits // 4 + 160)


class MultiHash(_TransHash):
    """Several hash tables, each over some of the bits."""

    name = "TransHash multihash"
    search_parameter = "nflip"

    def parameter_values(self) -> list[int]:
        """Return numbers of flipped bits; the number of buckets grows exponentially with them."""
        return [0, 1, 2, 3]

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Estimate the memory of the tables: about 80 bytes per code, measured with ten million codes."""
        return count * (bits // 4 + 80)


METHODS = (Flat, Mih, Ivf, Hnsw, MultiHash)
