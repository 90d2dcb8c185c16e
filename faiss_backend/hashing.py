"""Types hash and multihash: some bits of a code select its bucket, and a query searches the buckets near its own."""

from abc import abstractmethod
from io import BytesIO
from math import comb
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from transhash import hamming
from transhash.backends import CodeRows, SearchParameter
from transhash.errors import BackendError
from transhash.results import Nearest, Within

from . import library as faiss
from .kind import Bucketed, Mask, stored_codes
from .layout import FLAT, HASH, MULTI_HASH, IndexFileCursor, IndexFileHeader

_MOST_BITS = 24  # bits of a bucket's key; all of their values can still be enumerated


class _Hashing(Bucketed):
    """The common part of both types. A search visits the buckets within `nflip` bits of the query's own.

    FAISS's readers are not used. Only the codes are taken from a file, and the buckets are filled from them: that
    takes no longer, and damaged buckets cannot do harm.
    """

    attribute = "nflip"

    def check(self) -> None:
        """Nothing to check: the buckets were rebuilt, not read."""

    @property
    def tables(self) -> int:
        """Number of hash tables."""
        return 1

    @property
    @abstractmethod
    def codes(self) -> NDArray[np.uint8]:
        """The codes (n, bits/8) uint8."""

    @property
    def search_parameter(self) -> SearchParameter:
        """Bits by which a bucket may differ from the query's own."""
        return SearchParameter("nflip", 0, int(self.index.b))

    def reconstruct(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return a copy of the codes with ids `start` to `stop`."""
        return np.array(self.codes[start:stop])

    def search(self, queries: NDArray[np.uint8], k: int, value: int, allowed: Mask | None) -> Nearest:
        """Return the `k` nearest codes of each query in the buckets; of all codes if every bit may be flipped."""
        self._refuse_filter(allowed)
        if value == self.search_parameter.high and self.tables > 1:
            return hamming.top_k(queries, self.codes, k)
        return super().search(queries, k, value, None)

    def _search_further(self, queries: NDArray[np.uint8], k: int, value: int, allowed: Mask | None) -> Nearest:
        """Flip one more bit while there are fewer buckets than codes; then compare all codes."""
        if value < self._affordable_flips():
            return self.search(queries, k, value + 1, None)
        return hamming.top_k(queries, self.codes, k)

    def range_search(
        self, queries: NDArray[np.uint8], radius: int, value: int | None, allowed: Mask | None
    ) -> Within:
        """Return the codes at distance <= radius of each query: all of them unless the user sets `nflip`.

        Two codes at that distance differ by at most radius/tables bits in at least one of the tables. So flipping
        that many misses no code. Where that makes more buckets than there are codes, all codes are compared.
        """
        self._refuse_filter(allowed)
        if value is None:
            if radius // self.tables > self._affordable_flips():
                return hamming.within(queries, self.codes, radius)
            value = max(self.default, radius // self.tables)
        return super().range_search(queries, radius, value, None)

    def _affordable_flips(self) -> int:
        """Return the number of bits that can be flipped before there are more buckets to search than codes."""
        b = self.search_parameter.high
        return max(flips for flips in range(b + 1) if _buckets(b, flips) <= max(1, len(self)))

    def details(self) -> dict[str, int | str]:
        """Return the parameters, and the number of buckets that are not empty."""
        return {"b": int(self.index.b), "nflip": self.default, "buckets": int(self.index.hashtable_size())}

    def _refuse_filter(self, allowed: Mask | None) -> None:
        if allowed is not None:
            self._refuse("search under a filter", "FAISS does not support that", "flat, ivf, mih, hnsw")


class Hash(_Hashing):
    """`faiss.IndexBinaryHash`: one table, by the first `b` bits."""

    name = "hash"
    magic = HASH
    build_params = ("b", "nflip")

    def __init__(self, index: Any) -> None:
        """Wrap FAISS's index."""
        super().__init__(index)
        self._codes: NDArray[np.uint8] | None = None

    @property
    def codes(self) -> NDArray[np.uint8]:
        """The codes (n, bits/8) uint8, which are copied out of the buckets when they are first needed."""
        if self._codes is None:
            file = BytesIO(memoryview(faiss.serialize_index_binary(self.index)))
            self._codes = _read_codes(file)[1]
        return self._codes

    def add(self, codes: NDArray[np.uint8]) -> None:
        """Append codes (n, bits/8) uint8."""
        self._codes = None
        super().add(codes)

    @classmethod
    def train(cls, codes: CodeRows, params: dict[str, int]) -> Self:
        """Return an empty index, by default with one bucket per four codes."""
        bits = codes.shape[1] * 8
        b = params.get("b", min(_bits_of(len(codes)), bits))
        return cls._make(bits, b, params.get("nflip", min(2, b)))

    @classmethod
    def _make(cls, bits: int, b: int, nflip: int) -> Self:
        _check_parameters(bits, 1, b, nflip)
        index = faiss.IndexBinaryHash(bits, b)
        index.nflip = nflip
        return cls(index)

    @classmethod
    def read(cls, file: BinaryIO, folder: Path) -> Self:
        """Read FAISS's file. Raises ValueError if it is inconsistent."""
        (bits, b, nflip), codes = _read_codes(file)
        kind = cls._make(bits, b, nflip)
        kind.add(codes)
        return kind


class MultiHash(_Hashing):
    """`faiss.IndexBinaryMultiHash`: `nhash` tables, the first by the first `b` bits, the second by the next."""

    name = "multihash"
    magic = MULTI_HASH
    build_params = ("nhash", "b", "nflip")

    @classmethod
    def train(cls, codes: CodeRows, params: dict[str, int]) -> Self:
        """Return an empty index, by default with one table per 16 bits and one bucket per four codes in each."""
        bits = codes.shape[1] * 8
        nhash = params.get("nhash", min(8, max(2, bits // 16)))
        return cls._make(
            bits, nhash, params.get("b", min(_bits_of(len(codes)), bits // nhash)), params.get("nflip", 1)
        )

    @classmethod
    def _make(cls, bits: int, nhash: int, b: int, nflip: int) -> Self:
        _check_parameters(bits, nhash, b, nflip)
        index = faiss.IndexBinaryMultiHash(bits, nhash, b)
        index.nflip = nflip
        return cls(index)

    @classmethod
    def read(cls, file: BinaryIO, folder: Path) -> Self:
        """Read FAISS's file. Raises ValueError if it is inconsistent."""
        cursor = IndexFileCursor(file)
        header = cursor.header()
        if cursor.index(FLAT) != IndexFileHeader(FLAT, header.bits, header.count):
            raise ValueError("codes missing")
        end = file.tell()
        b, nhash, nflip = cursor.number("<i4"), cursor.number("<i4"), cursor.number("<i4")
        kind = cls._make(header.bits, nhash, b, nflip)
        for _ in range(nhash):
            cursor.skip(12)  # bits of an id, number of buckets
            cursor.skip_vector(1)
        cursor.end()
        file.seek(end - header.count * header.bits // 8)
        codes = cursor.read(header.count * header.bits // 8)
        kind.add(codes.reshape(header.count, header.bits // 8))
        return kind

    @property
    def tables(self) -> int:
        """Number of hash tables."""
        return int(self.index.nhash)

    @property
    def codes(self) -> NDArray[np.uint8]:
        """View the codes (n, bits/8) uint8."""
        return stored_codes(self.index.storage)

    def details(self) -> dict[str, int | str]:
        """Return the parameters, and the number of buckets that are not empty."""
        return {"nhash": self.tables, **super().details()}


def _check_parameters(bits: int, nhash: int, b: int, nflip: int) -> None:
    if not 1 <= b <= _MOST_BITS or not 1 <= nhash * b <= bits:
        raise BackendError(
            f"nhash={nhash}, b={b}: b must be from 1 to {_MOST_BITS}, and nhash·b at most the {bits} bits of a code"
        )
    if not 0 <= nflip <= b:
        raise BackendError(f"nflip={nflip}: must be from 0 to b={b}")


def _bits_of(count: int) -> int:
    """Return the number of bits that gives one bucket per four of `count` codes."""
    return min(max(4, count.bit_length() - 2), _MOST_BITS)


def _buckets(b: int, nflip: int) -> int:
    """Return the number of `b`-bit values that differ from a given one in at most `nflip` bits."""
    return sum(comb(b, flips) for flips in range(nflip + 1))


def _read_codes(file: BinaryIO) -> tuple[tuple[int, int, int], NDArray[np.uint8]]:
    """Read the file of a `faiss.IndexBinaryHash`: bits, b and nflip; and the codes (n, bits/8) by id.

    A table of bit strings holds the value and the number of codes of each bucket. Then each bucket follows, as a
    vector of ids and a vector of codes. Raises ValueError if the file is inconsistent.
    """
    cursor = IndexFileCursor(file)
    header, b, nflip = cursor.header(), cursor.number("<i4"), cursor.number("<i4")
    _check_parameters(header.bits, 1, b, nflip)
    return (header.bits, b, nflip), _codes_of_buckets(cursor, header, b)


def _codes_of_buckets(cursor: IndexFileCursor, header: IndexFileHeader, b: int) -> NDArray[np.uint8]:
    buckets, size_bits, table = cursor.number("<u8"), cursor.number("<i4"), cursor.read(cursor.number("<u8"))
    width, each = header.bits // 8, b + size_bits
    if not 0 <= size_bits <= 48 or buckets > header.count or len(table) != (buckets * each + 7) // 8:
        raise ValueError("buckets missing")
    strings = np.unpackbits(table, count=buckets * each, bitorder="little").reshape(buckets, each)
    sizes = strings[:, b:] @ (1 << np.arange(size_bits, dtype=np.int64))
    if sizes.max(initial=0) > header.count or sizes.sum() != header.count:
        raise ValueError("the buckets do not hold as many codes as the header says")
    records = cursor.read(16 * buckets + (8 + width) * header.count)
    cursor.end()
    if not header.count:
        return np.empty((0, width), np.uint8)
    starts = np.cumsum(16 + (8 + width) * sizes) - (16 + (8 + width) * sizes)
    ranks = np.arange(header.count) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # of each code in its bucket
    words = sliding_window_view(records, 8)
    lengths = np.stack([_numbers(words, starts), _numbers(words, starts + 8 + 8 * sizes)], axis=1)
    if not np.array_equal(lengths, np.stack([sizes, sizes * width], axis=1)):
        raise ValueError("the lengths of the buckets differ from their table")
    ids = _numbers(words, np.repeat(starts + 8, sizes) + 8 * ranks)
    if ids.min() < 0 or ids.max() >= header.count or len(np.unique(ids)) < header.count:
        raise ValueError("an id outside the index, or twice")
    codes = np.empty((header.count, width), np.uint8)
    codes[ids] = sliding_window_view(records, width)[np.repeat(starts + 16 + 8 * sizes, sizes) + width * ranks]
    return codes


def _numbers(words: NDArray[np.uint8], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the 64-bit numbers that begin at `places`."""
    return words[places].view("<i8")[:, 0]
