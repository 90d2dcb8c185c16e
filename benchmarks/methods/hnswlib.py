"""hnswlib over the float embeddings, because it has no Hamming distance; M = 16, ef_construction = 200 (README)."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..collection import Collection, blocks
from .base import Ids, Method, doubling


class Hnsw(Method):
    """An HNSW graph over vectors, by inner product."""

    name = "hnswlib"
    family = "float"
    package = "hnswlib"
    over = "vectors"
    search_parameter = "ef"

    def parameter_values(self) -> list[int]:
        """Return powers of two from 16 to 1,024; the default of hnswlib is 10."""
        return doubling(16, 1024)

    def build(self, collection: Collection) -> dict[str, Any]:
        """Build the graph by adding all vectors."""
        import hnswlib

        self._index = hnswlib.Index("ip", collection.dim)
        self._index.init_index(collection.count, ef_construction=200, M=16)
        for _, block in blocks(collection.vectors):
            self._index.add_items(block, num_threads=self.threads)
        return {"M": 16, "ef_construction": 200}

    def save(self, folder: Path) -> None:
        """Write the file of hnswlib and, next to it, the number of dimensions, which that file does not contain."""
        (folder / "dim").write_text(f"{self._index.dim}")
        self._index.save_index(str(folder / "index.hnswlib"))

    def load(self, folder: Path) -> None:
        """Read the files that `save` wrote."""
        import hnswlib

        self._index = hnswlib.Index("ip", int((folder / "dim").read_text()))
        self._index.load_index(str(folder / "index.hnswlib"))

    def search(self, queries: NDArray[Any], k: int, value: int) -> Ids:
        """Search with `ef` set to `value`, but at least `k`."""
        self._index.set_ef(max(value, k))
        return self._index.knn_query(queries, k, num_threads=self.threads)[0].astype(np.int64)

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Estimate the memory of vectors and links."""
        return count * (4 * dim + 200)


METHODS = (Hnsw,)
