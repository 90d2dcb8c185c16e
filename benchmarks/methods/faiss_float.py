"""FAISS indexes over the float embeddings of the codes, as its wiki recommends ("Guidelines to choose an index").

IVF has 4·√n lists, and HNSW 32 links, the default. IVF-PQ follows an OPQ rotation to four dimensions per byte,
``OPQM_4M,...,PQM``, with as many bytes per vector as the codes have; ``np`` omits polysemous training, which these
searches do not use. RaBitQ follows a random rotation and stores one bit per dimension. Vectors have unit length, so
Euclidean distance and cosine give the same order.
"""

from typing import Any

from ..collection import Collection
from .base import doubling
from .faiss_base import FaissMethod, lists


class _Float(FaissMethod):
    family = "float"
    over = "vectors"


class Flat(_Float):
    """Exact search by a linear scan."""

    name = "float Flat"

    def factory(self, collection: Collection) -> str:
        """Return the factory string."""
        return "Flat"


class Hnsw(_Float):
    """An HNSW graph over vectors."""

    name = "float HNSW"
    search_parameter = "efSearch"

    def factory(self, collection: Collection) -> str:
        """Return the factory string."""
        return "HNSW32"

    def parameter_values(self) -> list[int]:
        """Return powers of two from 16, the default of FAISS, to 1,024."""
        return doubling(16, 1024)

    def tune(self, value: int) -> None:
        """Set the size of the candidate list."""
        self.index.hnsw.efSearch = value

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Estimate the memory of vectors and links."""
        return count * (4 * dim + 300)


class Ivf(_Float):
    """Inverted lists of vectors."""

    name = "float IVF"
    search_parameter = "nprobe"

    def factory(self, collection: Collection) -> str:
        """Return the factory string."""
        return f"IVF{lists(collection.count)},Flat"

    def parameter_values(self) -> list[int]:
        """Return powers of two up to the number of lists, at most 4,096."""
        return doubling(1, min(self._lists.nlist, 1 << 12))

    def tune(self, value: int) -> None:
        """Set the number of lists to search."""
        self._lists.nprobe = value

    @property
    def _lists(self) -> Any:
        return self._faiss.extract_index_ivf(self.index)


class IvfPq(Ivf):
    """Inverted lists of product-quantized vectors, with as many bytes per vector as the hash codes."""

    name = "float IVF-PQ"

    def factory(self, collection: Collection) -> str:
        """Return the factory string."""
        parts = collection.bits // 8
        return f"OPQ{parts}_{4 * parts},IVF{lists(collection.count)},PQ{parts}np"


class IvfRaBitQ(Ivf):
    """Inverted lists of vectors with one bit per dimension."""

    name = "float IVF-RaBitQ"

    def factory(self, collection: Collection) -> str:
        """Return the factory string."""
        return f"RR{collection.dim},IVF{lists(collection.count)},RaBitQ"


METHODS = (Flat, Ivf, Hnsw, IvfPq, IvfRaBitQ)
