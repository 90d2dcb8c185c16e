"""The operations of an index type over the FAISS index it wraps, and errors for those that it does not support."""

import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from transhash.backends import CodeRows, SearchParameter
from transhash.errors import BackendError
from transhash.results import NO_DISTANCE, NO_ID, Nearest, Within

from . import library as faiss
from .layout import IndexFileCursor

Mask = NDArray[np.bool_]

FILE = "index.faiss"

SPARE = 16  # matches fetched beyond k, so that most ties at the k-th distance are among them


class Kind(ABC):
    """One type of index. `FaissIndex` has checked arguments: 1 <= k <= n, and `value` within the search parameter.

    Attributes:
        name: as ``--type`` takes it.
        magic: the first bytes of FAISS's file.
        beside: other files without which an index is not of this type.
        build_params: the parameters of `train`.
        index: the FAISS index.
    """

    name: ClassVar[str]
    magic: ClassVar[bytes]
    beside: ClassVar[tuple[str, ...]] = ()
    build_params: ClassVar[tuple[str, ...]] = ()

    def __init__(self, index: Any) -> None:
        """Wrap an index of FAISS."""
        self.index = index

    @classmethod
    @abstractmethod
    def train(cls, codes: CodeRows, params: dict[str, int]) -> Self:
        """Return an empty index trained on `codes` (n, bits/8), which determine the parameters not in `params`."""

    @classmethod
    def needs_faiss(cls, size: int, mmap: bool) -> bool:
        """Return whether FAISS reads, or maps, a file of `size` bytes."""
        return True

    @classmethod
    def read(cls, file: BinaryIO, folder: Path) -> Self:
        """Read FAISS's file; `folder` holds the other files that `save` wrote.

        Raises ValueError or RuntimeError if it is inconsistent.
        """
        IndexFileCursor(file).whole()
        file.seek(0)
        kind = cls(faiss.read_index_binary(faiss.PyCallbackIOReader(file.read)))
        kind.check()
        return kind

    @classmethod
    def map(cls, path: Path, trusted: bool = False) -> "Kind":
        """Map FAISS's file; check what is in it unless it is `trusted`.

        Raises ValueError or RuntimeError if it is inconsistent.
        """
        reason = "its searches rely on data that must be checked or rebuilt in memory"
        cls._refuse("be mapped", reason, "flat, ivf, mih")

    def save(self, folder: Path) -> None:
        """Write the index into `folder`, as FAISS's file and any data that it cannot hold."""
        with (folder / FILE).open("wb") as file:
            faiss.write_index_binary(self.index, faiss.PyCallbackIOWriter(file.write))

    @abstractmethod
    def check(self) -> None:
        """Raise ValueError unless the contents are consistent. `IndexFileCursor` has checked the lengths."""

    def __len__(self) -> int:
        """Return the number of codes."""
        return int(self.index.ntotal)

    @property
    def bits(self) -> int:
        """Width of a code."""
        return int(self.index.d)

    @property
    def search_parameter(self) -> SearchParameter | None:
        """The parameter that trades time for recall; None if the type is exact."""
        return None

    @property
    def default(self) -> int:
        """The value of the search parameter for searches that do not set it; 0 if the type is exact."""
        return 0

    def tune(self, value: int) -> None:
        """Set the default value of the search parameter. Raises BackendError if there is none."""
        raise BackendError(f"index type {self.name} has nothing to tune: every search is exact")

    def add(self, codes: NDArray[np.uint8]) -> None:
        """Append codes (n, bits/8) uint8."""
        self.index.add(codes)

    def remove(self, keep: NDArray[np.bool_]) -> None:
        """Drop the codes where `keep` (n,) is false."""
        self._refuse("remove codes", "FAISS does not support that", "flat, ivf, mih")

    @abstractmethod
    def reconstruct(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return a copy of the codes with ids `start` to `stop`, (stop - start, bits/8) uint8."""

    @abstractmethod
    def search(self, queries: NDArray[np.uint8], k: int, value: int, allowed: Mask | None) -> Nearest:
        """Return the `k` nearest codes of each query among those allowed, ordered by (distance, id)."""

    @abstractmethod
    def range_search(
        self, queries: NDArray[np.uint8], radius: int, value: int | None, allowed: Mask | None
    ) -> Within:
        """Return every allowed code at distance <= radius of each query; `value` is None if the user set none."""

    def details(self) -> dict[str, int | str]:
        """Return the fields of `info` besides the type."""
        return {}

    @classmethod
    def _refuse(cls, operation: str, reason: str, able: str) -> NoReturn:
        raise BackendError(f"index type {cls.name} cannot {operation}: {reason}; types that can: {able}")


class Bucketed(Kind):
    """A type that compares a query only with the codes of nearby buckets.

    The search parameter, an attribute of FAISS's index, sets the number of buckets.
    """

    attribute: ClassVar[str]

    def __init__(self, index: Any) -> None:
        """Wrap an index of FAISS."""
        super().__init__(index)
        self._lock = threading.Lock()  # FAISS reads the search parameter from the index, not from the call
        self._default = int(getattr(index, self.attribute))

    @property
    def default(self) -> int:
        """The value of the search parameter for searches that do not set it."""
        return self._default

    def tune(self, value: int) -> None:
        """Set the default value of the search parameter."""
        with self._lock:
            self._default = value
            setattr(self.index, self.attribute, value)

    def search(self, queries: NDArray[np.uint8], k: int, value: int, allowed: Mask | None) -> Nearest:
        """Return the `k` nearest allowed codes of each query among the buckets that are searched.

        Queries whose buckets hold fewer than `k` allowed codes are repeated with more buckets.
        """
        found = self._search(queries, k, value, allowed)
        if len(queries) == 1 and found.ids.item(-1) != NO_ID:
            return found  # the most common case, without the cost of numpy's functions
        short = np.flatnonzero(found.ids[:, -1] == NO_ID)
        if len(short):
            more = self._search_further(queries[short], k, value, allowed)
            found.ids[short], found.distances[short] = more.ids, more.distances
        return found

    def _search(self, queries: NDArray[np.uint8], k: int, value: int, allowed: Mask | None) -> Nearest:
        """Search with FAISS, which cannot filter; ids are -1 where the buckets hold fewer than `k` codes."""
        places = min(k + max(k, SPARE), len(self))
        with self._lock:
            setattr(self.index, self.attribute, value)
            try:
                ids, distances = ordered(*self.index.search(queries, places))
                if places < len(self):
                    self._settle_ties(queries, k, ids, distances)
            finally:
                setattr(self.index, self.attribute, self._default)
        return Nearest(np.ascontiguousarray(ids[:, :k]), np.ascontiguousarray(distances[:, :k]))

    @abstractmethod
    def _search_further(self, queries: NDArray[np.uint8], k: int, value: int, allowed: Mask | None) -> Nearest:
        """Search more buckets than `value` does, until `k` codes are found."""

    def range_search(
        self, queries: NDArray[np.uint8], radius: int, value: int | None, allowed: Mask | None
    ) -> Within:
        """Return the allowed codes at distance <= radius of each query among the buckets that are searched."""
        with self._lock:
            setattr(self.index, self.attribute, self._default if value is None else value)
            try:
                return within(self.index, queries, radius, allowed)
            finally:
                setattr(self.index, self.attribute, self._default)

    def _settle_ties(
        self, queries: NDArray[np.uint8], k: int, ids: NDArray[np.int64], distances: NDArray[np.int32]
    ) -> None:
        """Keep the smallest ids where more codes tie at the k-th distance than were fetched.

        FAISS's heap keeps an arbitrary selection; only a range search finds all.
        """
        tied = distances[:, k - 1] == distances[:, -1]
        for query in np.flatnonzero(tied & (ids[:, -1] != NO_ID)):
            found = within(self.index, queries[query : query + 1], int(distances[query, k - 1]))
            ids[query, :k], distances[query, :k] = found.ids[:k], found.distances[:k]


def ordered(distances: NDArray[np.int32], ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Sort FAISS's matches, (q, k) each, by (distance, id), with unfilled places last; return ids and distances."""
    distances[ids == NO_ID] = NO_DISTANCE
    order = np.lexsort((ids, distances), axis=1)
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(distances, order, axis=1)


def within(index: Any, queries: NDArray[np.uint8], radius: int, allowed: Mask | None = None) -> Within:
    """Return FAISS's matches at distance <= radius, ordered by (distance, id)."""
    bounds, distances, ids = index.range_search(queries, radius + 1)  # FAISS takes an exclusive bound
    owners = np.repeat(np.arange(len(queries)), np.diff(bounds.astype(np.int64)))
    if allowed is not None:
        stays = allowed[ids]
        owners, ids, distances = owners[stays], ids[stays], distances[stays]
    return Within.sort(len(queries), owners, ids, distances)


def stored_codes(flat: Any) -> NDArray[np.uint8]:
    """View the codes (n, bits/8) of an `IndexBinaryFlat`: valid until it is changed or freed."""
    count, width = int(flat.ntotal), int(flat.code_size)
    if not count:
        return np.empty((0, width), np.uint8)
    return faiss.rev_swig_ptr(flat.xb.data(), count * width).reshape(count, width)
