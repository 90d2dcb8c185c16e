"""Type flat: every code is compared with every query."""

from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from transhash import hamming
from transhash.backends import CodeRows
from transhash.results import Nearest, Within

from .kind import Kind, Mask, stored_codes, within
from .layout import FLAT, IndexFileCursor


class Flat(Kind):
    """`faiss.IndexBinaryFlat`, exact."""

    name = "flat"
    magic = FLAT

    def __init__(self, index: Any, codes: NDArray[np.uint8] | None = None) -> None:
        """Wrap FAISS's index, whose codes are viewed when they are first needed.

        If the file is mapped, `index` is empty, and `codes` are those of the file (n, bits/8) uint8.
        """
        super().__init__(index)
        self._codes = codes

    @classmethod
    def train(cls, codes: CodeRows, params: dict[str, int]) -> Self:
        """Return an empty index."""
        return cls(faiss.IndexBinaryFlat(codes.shape[1] * 8))

    @classmethod
    def map(cls, path: Path) -> Self:
        """Map the codes of a file."""
        with path.open("rb") as file:
            header = IndexFileCursor(file).whole()
            whole = np.memmap(file, np.uint8, "r")
        width = header.bits // 8
        codes = whole[len(whole) - header.count * width :].reshape(header.count, width)
        return cls(faiss.IndexBinaryFlat(header.bits), codes)

    def __len__(self) -> int:
        """Return the number of codes."""
        return len(self.codes)

    def check(self) -> None:
        """Nothing to check: a flat index stores only codes."""

    @property
    def codes(self) -> NDArray[np.uint8]:
        """View the codes (n, bits/8) uint8."""
        if self._codes is None:
            self._codes = stored_codes(self.index)
        return self._codes

    def add(self, codes: NDArray[np.uint8]) -> None:
        """Append codes (n, bits/8) uint8."""
        self._codes = None
        super().add(codes)

    def remove(self, keep: NDArray[np.bool_]) -> None:
        """Drop the codes where `keep` (n,) is false."""
        self._codes = None
        kept = faiss.IDSelectorBitmap(np.packbits(keep, bitorder="little"))
        self.index.remove_ids(faiss.IDSelectorNot(kept))

    def reconstruct(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return a copy of the codes with ids `start` to `stop`."""
        return np.array(self.codes[start:stop])

    def search(self, queries: NDArray[np.uint8], k: int, value: int, allowed: Mask | None) -> Nearest:
        """Return the `k` nearest codes of each query among those allowed, ordered by (distance, id)."""
        if not self._by_faiss(allowed):
            return hamming.top_k(queries, self.codes, k, allowed)
        distances, ids = self.index.search(queries, k)  # FAISS keeps the smallest ids of equal distances
        return Nearest(ids, distances)

    def range_search(
        self, queries: NDArray[np.uint8], radius: int, value: int | None, allowed: Mask | None
    ) -> Within:
        """Return every allowed code at distance <= radius of each query, ordered by (distance, id)."""
        if not self._by_faiss(allowed):
            return hamming.within(queries, self.codes, radius, allowed)
        return within(self.index, queries, radius)

    def _by_faiss(self, allowed: Mask | None) -> bool:
        """Return whether FAISS searches: without a compiled scan, without a filter, and if the file is not mapped."""
        return not hamming.isa and allowed is None and self.index.ntotal == len(self)
