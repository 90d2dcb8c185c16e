"""FAISS over the float embeddings behind the codes, as its wiki recommends ("Guidelines to choose an index").

Lists: 4·√n. HNSW: 32 links, the default. IVF-PQ: behind an OPQ rotation to four numbers a byte, ``OPQM_4M,...,PQM``,
with as many bytes as the codes have; ``np`` leaves out polysemous training, which only other searches use. RaBitQ:
behind a random rotation, one bit a number. Vectors have unit length, so the order by Euclidean distance is that by
cosine.
"""

from typing import Any

from ..collection import Collection
from .base import doubling
from .faiss_base import FaissMethod, lists


class _Float(FaissMethod):
    family = "float"
    over = "vectors"


class Flat(_Float):
    """The scan."""

    name = "float Flat"

    def factory(self, collection: Collection) -> str:
        """Return FAISS's name of the index."""
        return "Flat"


class Hnsw(_Float):
    """A graph."""

    name = "float HNSW"
    search_parameter = "efSearch"

    def factory(self, collection: Collection) -> str:
        """Return FAISS's name of the index."""
        return "HNSW32"

    def parameter_values(self) -> list[int]:
        """Return powers of two from FAISS's default on."""
        return doubling(16, 1024)

    def tune(self, value: int) -> None:
        """Set the search parameter."""
        self.index.hnsw.efSearch = value

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Return room for vectors and links."""
        return count * (4 * dim + 300)


class Ivf(_Float):
    """Inverted lists."""

    name = "float IVF"
    search_parameter = "nprobe"

    def factory(self, collection: Collection) -> str:
        """Return FAISS's name of the index."""
        return f"IVF{lists(collection.count)},Flat"

    def parameter_values(self) -> list[int]:
        """Return powers of two."""
        return doubling(1, min(self._lists.nlist, 1 << 12))

    def tune(self, value: int) -> None:
        """Set the search parameter."""
        self._lists.nprobe = value

    @property
    def _lists(self) -> Any:
        return self._faiss.extract_index_ivf(self.index)


class IvfPq(Ivf):
    """Inverted lists of product codes, of as many bytes as the hash codes."""

    name = "float IVF-PQ"

    def factory(self, collection: Collection) -> str:
        """Return FAISS's name of the index."""
        parts = collection.bits // 8
        return f"OPQ{parts}_{4 * parts},IVF{lists(collection.count)},PQ{parts}np"


class IvfRaBitQ(Ivf):
    """Inverted lists of one bit a number."""

    name = "float IVF-RaBitQ"

    def factory(self, collection: Collection) -> str:
        """Return FAISS's name of the index."""
        return f"RR{collection.dim},IVF{lists(collection.count)},RaBitQ"


METHODS = (Flat, Ivf, Hnsw, IvfPq, IvfRaBitQ)
