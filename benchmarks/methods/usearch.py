"""usearch over the codes: bits compared by Hamming distance. The graph has its defaults, which it documents."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..collection import Collection
from .base import Ids, Method, doubling


class Hnsw(Method):
    """Its graph."""

    name = "usearch HNSW"
    family = "peer"
    package = "usearch"
    search_parameter = "expansion_search"
    graph: ClassVar[dict[str, int]] = {}

    def parameter_values(self) -> list[int]:
        """Return powers of two; its default is 64."""
        return doubling(16, 1024)

    def build(self, collection: Collection) -> dict[str, Any]:
        """Add all codes."""
        from usearch.index import Index, MetricKind, ScalarKind

        self._index: Any = Index(ndim=collection.bits, metric=MetricKind.Hamming, dtype=ScalarKind.B1, **self.graph)
        self._index.add(np.arange(collection.count), np.ascontiguousarray(collection.codes), threads=self.threads)
        return {"connectivity": self._index.connectivity, "expansion_add": self._index.expansion_add}

    def save(self, folder: Path) -> None:
        """Write its file."""
        self._index.save(str(folder / "index.usearch"))

    def load(self, folder: Path) -> None:
        """Read it."""
        from usearch.index import Index

        self._index = Index.restore(str(folder / "index.usearch"))

    def search(self, queries: NDArray[Any], k: int, value: int) -> Ids:
        """Search, with `value` for the search parameter."""
        self._index.expansion_search = value
        return _ids(self._index.search(queries, k, threads=self.threads), len(queries), k)

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Return room for codes, links and keys."""
        return count * (bits // 4 + 250)


class Exact(Hnsw):
    """Its exact search of an index, which makes no use of the graph: that is as small as can be.

    Its function `search`, which needs no index, was slower.
    """

    name = "usearch exact"
    search_parameter = ""
    graph: ClassVar[dict[str, int]] = {"connectivity": 2, "expansion_add": 1}

    def parameter_values(self) -> list[int]:
        """Return that there is nothing to turn."""
        return [0]

    def search(self, queries: NDArray[Any], k: int, value: int) -> Ids:
        """Compare with all codes."""
        return _ids(self._index.search(queries, k, threads=self.threads, exact=True), len(queries), k)


def _ids(found: Any, queries: int, k: int) -> Ids:
    """Return its keys, of one query or many, (q, k)."""
    ids = np.full((queries, k), -1, np.int64)
    keys = np.atleast_2d(found.keys).astype(np.int64)
    counts: Any = getattr(found, "counts", [keys.shape[1]])
    filled = np.arange(keys.shape[1]) < np.asarray(counts)[:, None]
    ids[:, : keys.shape[1]][filled] = keys[filled]
    return ids


METHODS = (Exact, Hnsw)
