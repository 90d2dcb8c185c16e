"""TransHash: the types of index of its FAISS backend, with their own defaults."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transhash import backends
from transhash.backends import Backend

from ..collection import Collection
from .base import Ids, Method, doubling

_HIGHEST = 1 << 12


class _Ours(Method):
    family = "codes"
    package = "faiss"

    def __init__(self, threads: int, uri: str = "") -> None:
        """Take the number of threads."""
        super().__init__(threads, uri)
        self._backend = backends.load("faiss")
        self._index: Backend | None = None

    @property
    def index(self) -> Backend:
        """The index that was built or loaded."""
        assert self._index is not None
        return self._index

    def parameter_values(self) -> list[int]:
        """Return powers of two, from the lowest value of the search parameter."""
        parameter = self.index.search_parameter()
        low = max(1, parameter.low) if parameter else 0
        return doubling(low, min(parameter.high, _HIGHEST)) if parameter else [0]

    def build(self, collection: Collection) -> dict[str, Any]:
        """Build the index."""
        codes = np.ascontiguousarray(collection.codes)
        self._index = self._backend.build(codes, type=self.name.removeprefix("TransHash "))
        return {
            name: value
            for name, value in self.index.info().items()
            if name not in ("type", "bytes", self.search_parameter)
        }

    def save(self, folder: Path) -> None:
        """Write FAISS's file."""
        self.index.save(folder)

    def load(self, folder: Path) -> None:
        """Read it."""
        self._index = self._backend.load(folder)

    def search(self, queries: NDArray[Any], k: int, value: int) -> Ids:
        """Search, with `value` for the search parameter."""
        return self.index.search(queries, k, {self.search_parameter: value} if self.search_parameter else None).ids


class Flat(_Ours):
    """The scan of all codes."""

    name = "TransHash flat"


class Ivf(_Ours):
    """Inverted lists."""

    name = "TransHash ivf"
    search_parameter = "nprobe"

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Return room for codes, ids, and the codes that were given."""
        return count * (2 * bits // 8 + 16)


class Hnsw(_Ours):
    """A graph."""

    name = "TransHash hnsw"
    search_parameter = "ef"

    def parameter_values(self) -> list[int]:
        """Return powers of two from 16 on: k is 10 or more."""
        return doubling(16, 1024)

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Return room for codes and links."""
        return count * (bits // 4 + 160)


class MultiHash(_Ours):
    """Several hash tables."""

    name = "TransHash multihash"
    search_parameter = "nflip"

    def parameter_values(self) -> list[int]:
        """Return flips: each more multiplies the buckets."""
        return [0, 1, 2, 3]

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Return room for the tables: about 80 bytes a code, measured at ten million."""
        return count * (bits // 4 + 80)


METHODS = (Flat, Ivf, Hnsw, MultiHash)
