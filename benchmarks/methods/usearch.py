"""usearch over the codes, by Hamming distance; the graph has the documented defaults."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..collection import Collection
from .base import Ids, Method, doubling


class Hnsw(Method):
    """An HNSW graph over codes."""

    name = "usearch HNSW"
    family = "peer"
    package = "usearch"
    search_parameter = "expansion_search"
    graph: ClassVar[dict[str, int]] = {}

    def parameter_values(self) -> list[int]:
        """Return powers of two from 16 to 1,024; the default of usearch is 64."""
        return doubling(16, 1024)

    def build(self, collection: Collection) -> dict[str, Any]:
        """Build the graph by adding all codes."""
        from usearch.index import Index, MetricKind, ScalarKind

        self._index: Any = Index(ndim=collection.bits, metric=MetricKind.Hamming, dtype=ScalarKind.B1, **self.graph)
        self._index.add(np.arange(collection.count), np.ascontiguousarray(collection.codes), threads=self.threads)
        return {"connectivity": self._index.connectivity, "expansion_add": self._index.expansion_add}

    def save(self, folder: Path) -> None:
        """Write the file of usearch."""
        self._index.save(str(folder / "index.usearch"))

    def load(self, folder: Path) -> None:
        """Read the file that `save` wrote."""
        from usearch.index import Index

        self._index = Index.restore(str(folder / "index.usearch"))

    def search(self, queries: NDArray[Any], k: int, value: int) -> Ids:
        """Search with `value` for the search parameter."""
        self._index.expansion_search = value
        return _ids(self._index.search(queries, k, threads=self.threads), len(queries), k)

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Estimate the memory of codes, links and keys."""
        return count * (bits // 4 + 250)


class Exact(Hnsw):
    """The exact search of a usearch index, which does not use the graph; the graph is therefore as small as possible.

    The function `usearch.index.search`, which needs no index, was slower.
    """

    name = "usearch exact"
    search_parameter = ""
    graph: ClassVar[dict[str, int]] = {"connectivity": 2, "expansion_add": 1}

    def parameter_values(self) -> list[int]:
        """Return [0]: an exact search has no search parameter."""
        return [0]

    def search(self, queries: NDArray[Any], k: int, value: int) -> Ids:
        """Compare the queries with all codes."""
        return _ids(self._index.search(queries, k, threads=self.threads, exact=True), len(queries), k)


def _ids(found: Any, queries: int, k: int) -> Ids:
    """Return the keys of matches as (q, k) int64, for one query or several; -1 for a missing result."""
    ids = np.full((queries, k), -1, np.int64)
    keys = np.atleast_2d(found.keys).astype(np.int64)
    counts: Any = getattr(found, "counts", [keys.shape[1]])
    filled = np.arange(keys.shape[1]) < np.asarray(counts)[:, None]
    ids[:, : keys.shape[1]][filled] = keys[filled]
    return ids


METHODS = (Exact, Hnsw)
