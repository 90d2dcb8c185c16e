"""FAISS's own binary indexes, called as its users call them, with its defaults.

IVF has 4·√n lists, the low end of what FAISS's wiki recommends for up to a million vectors ("Guidelines to choose an
index"), and at least 39 codes a list, below which its training warns. HNSW has 32 links, the default. For MultiHash
FAISS gives no rule: up to four tables of about log₂ n bits, so that there are as many buckets as codes.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..collection import Collection
from .base import Ids, Method, doubling

_FILE = "index.faiss"


def lists(count: int) -> int:
    """Return how many inverted lists FAISS recommends for `count` rows."""
    return max(1, min(int(4 * math.sqrt(count)), count // 39))


class _Binary(Method):
    family = "peer"
    package = "faiss"

    def __init__(self, threads: int, uri: str = "") -> None:
        """Take the number of threads."""
        import faiss

        super().__init__(threads, uri)
        faiss.omp_set_num_threads(threads)
        self.index: Any = None

    def factory(self, count: int, bits: int) -> str:
        """Return FAISS's name of the index."""
        raise NotImplementedError

    def build(self, collection: Collection) -> dict[str, Any]:
        """Train and fill it."""
        import faiss

        codes = np.ascontiguousarray(collection.codes)
        name = self.factory(len(codes), collection.bits)
        self.index = faiss.index_binary_factory(collection.bits, name)
        self.index.train(codes)
        self.index.add(codes)
        return {"factory": name}

    def save(self, folder: Path) -> None:
        """Write FAISS's file."""
        import faiss

        faiss.write_index_binary(self.index, str(folder / _FILE))

    def load(self, folder: Path) -> None:
        """Read it."""
        import faiss

        self.index = faiss.read_index_binary(str(folder / _FILE))

    def search(self, queries: NDArray[Any], k: int, effort: int) -> Ids:
        """Search, with `effort` for the knob."""
        self.tune(effort)
        return self.index.search(queries, k)[1]

    def tune(self, effort: int) -> None:
        """Set the knob."""


class BinaryFlat(_Binary):
    """The scan."""

    name = "FAISS BinaryFlat"

    def factory(self, count: int, bits: int) -> str:
        """Return FAISS's name of the index."""
        return "BFlat"


class BinaryIvf(_Binary):
    """Inverted lists."""

    name = "FAISS BinaryIVF"
    knob = "nprobe"

    def factory(self, count: int, bits: int) -> str:
        """Return FAISS's name of the index."""
        return f"BIVF{lists(count)}"

    def efforts(self) -> list[int]:
        """Return powers of two."""
        return doubling(1, min(int(self.index.nlist), 1 << 12))

    def tune(self, effort: int) -> None:
        """Set the knob."""
        self.index.nprobe = effort

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Return room for codes, ids, and the codes that were given."""
        return count * (2 * bits // 8 + 16)


class BinaryHnsw(_Binary):
    """A graph."""

    name = "FAISS BinaryHNSW"
    knob = "efSearch"

    def factory(self, count: int, bits: int) -> str:
        """Return FAISS's name of the index."""
        return "BHNSW32"

    def efforts(self) -> list[int]:
        """Return powers of two from FAISS's default on."""
        return doubling(16, 1024)

    def tune(self, effort: int) -> None:
        """Set the knob."""
        self.index.hnsw.efSearch = effort

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Return room for codes and links."""
        return count * (bits // 4 + 300)


class BinaryMultiHash(_Binary):
    """Several hash tables."""

    name = "FAISS BinaryMultiHash"
    knob = "nflip"

    def factory(self, count: int, bits: int) -> str:
        """Return FAISS's name of the index."""
        width = min(max(8, round(math.log2(count))), bits // 2)
        return f"BHash{min(4, bits // width)}x{width}"

    def efforts(self) -> list[int]:
        """Return flips: each more multiplies the buckets."""
        return [0, 1, 2, 3]

    def tune(self, effort: int) -> None:
        """Set the knob."""
        self.index.nflip = effort

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Return room for codes and tables."""
        return count * (bits // 4 + 160)


METHODS = (BinaryFlat, BinaryIvf, BinaryHnsw, BinaryMultiHash)
