"""The layout of FAISS's files, checked before FAISS reads or maps one, because its readers trust all lengths.

A vector in a file is a 64-bit count followed by its elements. The vectors are skipped here, and must end where the
file ends; the values of the elements are checked afterwards by the class of the type.
"""

import os
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

FLAT, IVF, HNSW, HASH, MULTI_HASH = b"IBxF", b"IBwF", b"IBHf", b"IBHh", b"IBHm"  # the first bytes of their files

_NO_DIRECT_MAP = 0
_COUNT_AT = 12  # after magic, width in bits, width in bytes
_NO_LISTS = b"sprs" + bytes(8)  # the end of the file of an ivf index without codes


@dataclass(frozen=True)
class IndexFileHeader:
    """The first fields of a file of FAISS: type, width and number of the codes."""

    magic: bytes
    bits: int
    count: int


class IndexFileCursor:
    """A cursor in a file of FAISS. Every method raises ValueError if it would move outside the file."""

    def __init__(self, file: BinaryIO) -> None:
        """Start at the first byte."""
        self.file = file
        self.size = file.seek(0, os.SEEK_END)
        file.seek(0)

    def read(self, count: int) -> NDArray[np.uint8]:
        """Read `count` bytes."""
        if not 0 <= count <= self.size - self.file.tell():
            raise ValueError("it ends too early")
        return np.frombuffer(self.file.read(count), np.uint8)

    def number(self, code: str) -> int:
        """Read a number of a numpy dtype such as ``<i4``."""
        return int(self.read(np.dtype(code).itemsize).view(code)[0])

    def skip(self, count: int, width: int = 1) -> None:
        """Skip `count` elements of `width` bytes."""
        if not 0 <= count * width <= self.size - self.file.tell():
            raise ValueError("it ends too early")
        self.file.seek(count * width, os.SEEK_CUR)

    def skip_vector(self, width: int) -> None:
        """Skip a vector of elements of `width` bytes."""
        self.skip(self.number("<u8"), width)

    def header(self) -> IndexFileHeader:
        """Read the first fields of an index."""
        magic = self.read(4).tobytes()
        bits, width, count = self.number("<i4"), self.number("<i4"), self.number("<i8")
        trained, _ = self.number("u1"), self.number("<i4")
        if not (8 <= bits <= 1024 and bits % 8 == 0 and width == bits // 8):
            raise ValueError(f"codes of {bits} bits")
        if trained != 1:
            raise ValueError("the index is not trained")
        if not 0 <= count <= self.size:
            raise ValueError(f"{count} codes in {self.size} bytes")
        return IndexFileHeader(magic, bits, count)

    def index(self, *types: bytes) -> IndexFileHeader:
        """Skip an index of one of `types`."""
        header = self.header()
        if header.magic not in types:
            raise ValueError(f"it holds an index of type {header.magic!r}")
        if header.magic == FLAT:
            if self.number("<u8") != header.count * header.bits // 8:
                raise ValueError("codes missing")
            self.skip(header.count, header.bits // 8)
        elif header.magic == IVF:
            self.lists(header)
            self.skip(header.count, header.bits // 8 + 8)
        else:
            for width in (8, 4, 4, 8, 4):  # probabilities, neighbours per level, levels, offsets, neighbours
                self.skip_vector(width)
            self.skip(5, 4)  # entry point, highest level, efConstruction, efSearch, one unused
            if self.index(FLAT) != IndexFileHeader(FLAT, header.bits, header.count):
                raise ValueError("a graph without its codes")
        return header

    def whole(self) -> IndexFileHeader:
        """Skip a flat, IVF or HNSW index, which must be the entire file."""
        header = self.index(FLAT, IVF, HNSW)
        self.end()
        return header

    def end(self) -> None:
        """Raise ValueError unless this is the end of the file."""
        if self.file.tell() != self.size:
            raise ValueError("bytes follow its end")

    def lists(self, header: IndexFileHeader) -> tuple[int, NDArray[np.int64]]:
        """Skip what precedes the lists of an IVF index; return where their sizes are, and the sizes (nlist,).

        Each list is its codes, then its ids.
        """
        nlist, _ = self.number("<u8"), self.number("<u8")
        centroids = self.index(FLAT, HNSW)
        if (centroids.bits, centroids.count) != (header.bits, nlist):
            raise ValueError("centroids missing")
        if self.number("u1") != _NO_DIRECT_MAP or self.number("<u8"):
            raise ValueError("it holds a direct map")
        kind, lists, width = self.read(4).tobytes(), self.number("<u8"), self.number("<u8")
        if (kind, lists, width) != (b"ilar", nlist, header.bits // 8) or nlist > self.size:
            raise ValueError("inverted lists missing")
        end = self.file.tell()
        form, sizes = self.read(4).tobytes(), self.read(8 * self.number("<u8")).view("<u8")
        if form == b"sprs" and len(sizes) % 2 == 0 and (sizes[::2] < nlist).all():
            listed, sizes = sizes, np.zeros(nlist, np.uint64)
            sizes[listed[::2].astype(np.int64)] = listed[1::2]
        elif form != b"full" or len(sizes) != nlist:
            raise ValueError("lengths of the inverted lists missing")
        if sizes.max(initial=0) > header.count or int(sizes.sum()) != header.count:
            raise ValueError("the inverted lists do not hold as many codes as the header says")
        return end, sizes.astype(np.int64)


def flat_head(empty: bytes, count: int) -> bytes:
    """Return the bytes before the codes of a flat index of `count` codes, given the file of an empty one."""
    width = int.from_bytes(empty[8:12], "little")
    return _counted(empty, count)[:-8] + (count * width).to_bytes(8, "little")


def ivf_head(empty: bytes, sizes: NDArray[np.int64]) -> bytes:
    """Return the bytes before the lists of an ivf index with lists of `sizes`, given the file of an empty one."""
    if not empty.endswith(_NO_LISTS):
        raise ValueError("not the file of an empty ivf index")
    listed = b"full" + len(sizes).to_bytes(8, "little") + sizes.astype("<u8").tobytes()
    return _counted(empty, int(sizes.sum())).removesuffix(_NO_LISTS) + listed


def ivf_empty(head: bytes) -> bytes:
    """Return the file of an empty ivf index, given the bytes of a full one before the sizes of its lists."""
    return _counted(head, 0) + _NO_LISTS


def _counted(empty: bytes, count: int) -> bytes:
    return empty[:_COUNT_AT] + count.to_bytes(8, "little") + empty[_COUNT_AT + 8 :]
