"""usearch over the codes: bits compared by Hamming distance. All parameters are its defaults, which it documents."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..collection import Collection
from .base import Ids, Method, doubling


class Exact(Method):
    """Its search without an index."""

    name = "usearch exact"
    family = "peer"
    package = "usearch"

    def build(self, collection: Collection) -> dict[str, Any]:
        """Read the codes."""
        self._codes = np.array(collection.codes)
        return {}

    def save(self, folder: Path) -> None:
        """Write the codes."""
        np.save(folder / "codes.npy", self._codes)

    def load(self, folder: Path) -> None:
        """Read them."""
        self._codes = np.load(folder / "codes.npy")

    def search(self, queries: NDArray[Any], k: int, effort: int) -> Ids:
        """Compare with all codes."""
        from usearch.index import MetricKind, ScalarKind, search

        found = search(
            self._codes, queries, k, MetricKind.Hamming, exact=True, threads=self.threads, dtype=ScalarKind.B1
        )
        return _ids(found, len(queries), k)


class Hnsw(Method):
    """Its graph."""

    name = "usearch HNSW"
    family = "peer"
    package = "usearch"
    knob = "expansion_search"

    def efforts(self) -> list[int]:
        """Return powers of two; its default is 64."""
        return doubling(16, 1024)

    def build(self, collection: Collection) -> dict[str, Any]:
        """Add all codes."""
        from usearch.index import Index, MetricKind, ScalarKind

        self._index = Index(ndim=collection.bits, metric=MetricKind.Hamming, dtype=ScalarKind.B1)
        self._index.add(np.arange(collection.count), np.ascontiguousarray(collection.codes), threads=self.threads)
        return {"connectivity": self._index.connectivity, "expansion_add": self._index.expansion_add}

    def save(self, folder: Path) -> None:
        """Write its file."""
        self._index.save(str(folder / "index.usearch"))

    def load(self, folder: Path) -> None:
        """Read it."""
        from usearch.index import Index

        self._index = Index.restore(str(folder / "index.usearch"))

    def search(self, queries: NDArray[Any], k: int, effort: int) -> Ids:
        """Search, with `effort` for the knob."""
        self._index.expansion_search = effort
        return _ids(self._index.search(queries, k, threads=self.threads), len(queries), k)

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Return room for codes, links and keys."""
        return count * (bits // 4 + 250)


def _ids(found: Any, queries: int, k: int) -> Ids:
    """Return its keys, of one query or many, (q, k)."""
    ids = np.full((queries, k), -1, np.int64)
    keys = np.atleast_2d(found.keys).astype(np.int64)
    counts: Any = getattr(found, "counts", [keys.shape[1]])
    filled = np.arange(keys.shape[1]) < np.asarray(counts)[:, None]
    ids[:, : keys.shape[1]][filled] = keys[filled]
    return ids


METHODS = (Exact, Hnsw)
