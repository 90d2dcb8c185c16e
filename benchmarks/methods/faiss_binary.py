"""The binary indexes of FAISS, with its defaults.

IVF has 4·√n lists, the lowest number that the wiki of FAISS recommends for up to a million vectors ("Guidelines to
choose an index"), and at least 39 codes per list, below which FAISS warns. HNSW has 32 links, the default. FAISS
gives no rule for MultiHash: here it has up to four tables of about log₂ n bits, hence about as many buckets as codes.
"""

import math

from ..collection import Collection
from .base import doubling
from .faiss_base import FaissMethod, lists


class BinaryFlat(FaissMethod):
    """Exact search by a linear scan."""

    name = "FAISS BinaryFlat"
    family = "peer"

    def factory(self, collection: Collection) -> str:
        """Return the factory string."""
        return "BFlat"


class BinaryIvf(FaissMethod):
    """Inverted lists of codes."""

    name = "FAISS BinaryIVF"
    family = "peer"
    search_parameter = "nprobe"

    def factory(self, collection: Collection) -> str:
        """Return the factory string."""
        return f"BIVF{lists(collection.count)}"

    def parameter_values(self) -> list[int]:
        """Return powers of two up to the number of lists, at most 4,096."""
        return doubling(1, min(int(self.index.nlist), 1 << 12))

    def tune(self, value: int) -> None:
        """Set the number of lists to search."""
        self.index.nprobe = value

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Estimate the memory of the codes, their copies in the lists and their ids."""
        return count * (2 * bits // 8 + 16)


class BinaryHnsw(FaissMethod):
    """An HNSW graph over codes."""

    name = "FAISS BinaryHNSW"
    family = "peer"
    search_parameter = "efSearch"

    def factory(self, collection: Collection) -> str:
        """Return the factory string."""
        return "BHNSW32"

    def parameter_values(self) -> list[int]:
        """Return powers of two from 16, the default of FAISS, to 1,024."""
        return doubling(16, 1024)

    def tune(self, value: int) -> None:
        """Set the size of the candidate list."""
        self.index.hnsw.efSearch = value

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Estimate the memory of codes and links."""
        return count * (bits // 4 + 300)


class BinaryMultiHash(FaissMethod):
    """Several hash tables, each over some of the bits."""

    name = "FAISS BinaryMultiHash"
    family = "peer"
    search_parameter = "nflip"

    def factory(self, collection: Collection) -> str:
        """Return the factory string."""
        width = min(max(8, round(math.log2(collection.count))), collection.bits // 2)
        return f"BHash{min(4, collection.bits // width)}x{width}"

    def parameter_values(self) -> list[int]:
        """Return numbers of flipped bits; the number of buckets grows exponentially with them."""
        return [0, 1, 2, 3]

    def tune(self, value: int) -> None:
        """Set the number of bits to flip."""
        self.index.nflip = value

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Estimate the memory of codes and tables."""
        return count * (bits // 4 + 160)


METHODS = (BinaryFlat, BinaryIvf, BinaryHnsw, BinaryMultiHash)
