"""FAISS's own binary indexes, called as its users call them, with its defaults.

IVF has 4·√n lists, the low end of what FAISS's wiki recommends for up to a million vectors ("Guidelines to choose an
index"), and at least 39 codes a list, below which its training warns. HNSW has 32 links, the default. For MultiHash
FAISS gives no rule: up to four tables of about log₂ n bits, so that there are as many buckets as codes.
"""

import math

from ..collection import Collection
from .base import doubling
from .faiss_base import FaissMethod, lists


class BinaryFlat(FaissMethod):
    """The scan."""

    name = "FAISS BinaryFlat"
    family = "peer"

    def factory(self, collection: Collection) -> str:
        """Return FAISS's name of the index."""
        return "BFlat"


class BinaryIvf(FaissMethod):
    """Inverted lists."""

    name = "FAISS BinaryIVF"
    family = "peer"
    search_parameter = "nprobe"

    def factory(self, collection: Collection) -> str:
        """Return FAISS's name of the index."""
        return f"BIVF{lists(collection.count)}"

    def parameter_values(self) -> list[int]:
        """Return powers of two."""
        return doubling(1, min(int(self.index.nlist), 1 << 12))

    def tune(self, value: int) -> None:
        """Set the search parameter."""
        self.index.nprobe = value

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Return room for codes, ids, and the codes that were given."""
        return count * (2 * bits // 8 + 16)


class BinaryHnsw(FaissMethod):
    """A graph."""

    name = "FAISS BinaryHNSW"
    family = "peer"
    search_parameter = "efSearch"

    def factory(self, collection: Collection) -> str:
        """Return FAISS's name of the index."""
        return "BHNSW32"

    def parameter_values(self) -> list[int]:
        """Return powers of two from FAISS's default on."""
        return doubling(16, 1024)

    def tune(self, value: int) -> None:
        """Set the search parameter."""
        self.index.hnsw.efSearch = value

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Return room for codes and links."""
        return count * (bits // 4 + 300)


class BinaryMultiHash(FaissMethod):
    """Several hash tables."""

    name = "FAISS BinaryMultiHash"
    family = "peer"
    search_parameter = "nflip"

    def factory(self, collection: Collection) -> str:
        """Return FAISS's name of the index."""
        width = min(max(8, round(math.log2(collection.count))), collection.bits // 2)
        return f"BHash{min(4, collection.bits // width)}x{width}"

    def parameter_values(self) -> list[int]:
        """Return flips: each more multiplies the buckets."""
        return [0, 1, 2, 3]

    def tune(self, value: int) -> None:
        """Set the search parameter."""
        self.index.nflip = value

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Return room for codes and tables."""
        return count * (bits // 4 + 160)


METHODS = (BinaryFlat, BinaryIvf, BinaryHnsw, BinaryMultiHash)
