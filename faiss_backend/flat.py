"""Type flat: every code is compared with every query."""

import os
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from transhash import hamming
from transhash.backends import CodeRows
from transhash.results import Nearest, Within

from . import library as faiss
from .kind import Kind, Mask, stored_codes, within
from .layout import FLAT, IndexFileCursor

_SMALL = 64 << 20  # bytes of a file


class Flat(Kind):
    """`faiss.IndexBinaryFlat`, exact."""

    name = "flat"
    magic = FLAT

    def __init__(self, index: Any = None, codes: NDArray[np.uint8] | None = None, mapped: bool = False) -> None:
        """Wrap FAISS's index, or the `codes` (n, bits/8) uint8 of its file, which may be `mapped`.

        FAISS's index of given codes is made when it is first needed; it stays empty if they are mapped.
        """
        self._index = index
        self._codes = codes
        self._mapped = mapped

    @classmethod
    def train(cls, codes: CodeRows, params: dict[str, int]) -> Self:
        """Return an empty index."""
        return cls(faiss.IndexBinaryFlat(codes.shape[1] * 8))

    @property
    def index(self) -> Any:
        """FAISS's index."""
        if self._index is None:
            index = faiss.IndexBinaryFlat(self.bits)
            if not self._mapped:
                index.add(self.codes)
            self._index = index
        return self._index

    @classmethod
    def needs_faiss(cls, size: int, mmap: bool) -> bool:
        """Return whether FAISS reads the file: only a large one, because loading FAISS takes a while."""
        return not mmap and size > _SMALL

    @classmethod
    def read(cls, file: BinaryIO, folder: Path) -> Self:
        """Read FAISS's file."""
        header = IndexFileCursor(file).whole()
        if cls.needs_faiss(file.tell(), False):
            return super().read(file, folder)
        width = header.bits // 8
        file.seek(-header.count * width, os.SEEK_END)
        return cls(codes=np.frombuffer(file.read(header.count * width), np.uint8).reshape(header.count, width))

    @classmethod
    def map(cls, path: Path, trusted: bool = False) -> Self:
        """Map the codes of a file."""
        with path.open("rb") as file:
            header = IndexFileCursor(file).whole()
            whole = np.memmap(file, np.uint8, "r")
        width = header.bits // 8
        codes = whole[len(whole) - header.count * width :].reshape(header.count, width)
        return cls(codes=codes, mapped=True)

    @property
    def bits(self) -> int:
        """Width of a code."""
        return 8 * int(self.codes.shape[1])

    def __len__(self) -> int:
        """Return the number of codes."""
        return len(self.codes)

    def check(self) -> None:
        """Nothing to check: a flat index stores only codes."""

    @property
    def codes(self) -> NDArray[np.uint8]:
        """View the codes (n, bits/8) uint8."""
        if self._codes is None:
            self._codes = stored_codes(self._index)
        return self._codes

    def add(self, codes: NDArray[np.uint8]) -> None:
        """Append codes (n, bits/8) uint8."""
        super().add(codes)
        self._codes = None

    def remove(self, keep: NDArray[np.bool_]) -> None:
        """Drop the codes where `keep` (n,) is false."""
        kept = faiss.IDSelectorBitmap(np.packbits(keep, bitorder="little"))
        self.index.remove_ids(faiss.IDSelectorNot(kept))
        self._codes = None

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
        return not hamming.isa and allowed is None and not self._mapped
