"""What every type of index does over the FAISS index it wraps, and how it says that it cannot."""

import threading
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from transhash.backends import CodeRows, SearchParameter
from transhash.errors import BackendError
from transhash.results import NO_DISTANCE, NO_ID, Nearest, Within

from .layout import IndexFileCursor

Mask = NDArray[np.bool_]

SPARE = 16  # places searched beyond k, so that most ties at the k-th distance are seen at once


class Kind(ABC):
    """One type of index. `FaissIndex` asks it only what its parameters and sizes allow: 1 <= k <= n, n >= 1.

    Attributes:
        name: as ``--type`` takes it.
        magic: the first bytes of FAISS's file.
        build_params: the parameters of `train`.
        index: the FAISS index.
    """

    name: ClassVar[str]
    magic: ClassVar[bytes]
    build_params: ClassVar[tuple[str, ...]] = ()

    def __init__(self, index: Any) -> None:
        """Wrap an index of FAISS."""
        self.index = index

    @classmethod
    @abstractmethod
    def train(cls, codes: CodeRows, params: dict[str, int]) -> Self:
        """Return an empty index with parameters that suit some codes (n, bits/8), where `params` does not say."""

    @classmethod
    def read(cls, walk: IndexFileCursor) -> Self:
        """Read a file of FAISS. Raises ValueError or RuntimeError if it does not hold together."""
        walk.whole()
        walk.file.seek(0)
        kind = cls(faiss.read_index_binary(faiss.PyCallbackIOReader(walk.file.read)))
        kind.check()
        return kind

    @classmethod
    def map(cls, path: Path) -> "Kind":
        """Map a file of FAISS. Raises ValueError or RuntimeError if it does not hold together."""
        cls._refuse("be mapped", "what its searches trust must be checked or made anew in memory", "flat, ivf")

    @abstractmethod
    def check(self) -> None:
        """Raise ValueError unless searches may trust the index, whose lengths were checked."""

    def __len__(self) -> int:
        """Return the number of codes."""
        return int(self.index.ntotal)

    @property
    def bits(self) -> int:
        """Width of a code."""
        return int(self.index.d)

    @property
    def search_parameter(self) -> SearchParameter | None:
        """The search parameter that trades time for recall, None if the type is exact."""
        return None

    @property
    def default(self) -> int:
        """The value of the search parameter for searches that do not set it."""
        return 0

    def tune(self, value: int) -> None:
        """Set the value of the search parameter for searches that do not set it."""
        raise BackendError(f"index type {self.name} has nothing to tune: every search is exact")

    def add(self, codes: NDArray[np.uint8]) -> None:
        """Add codes (n, bits/8) uint8 behind those there are."""
        self.index.add(codes)

    def remove(self, keep: NDArray[np.bool_]) -> None:
        """Drop the codes where `keep` (n,) is false."""
        self._refuse("remove codes", "FAISS cannot take them out", "flat, ivf")

    def reconstruct(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return a copy of the codes with ids `start` to `stop`."""
        self._refuse("give codes back", "FAISS keeps them by bucket, not by id", "flat, ivf, hnsw, multihash")

    @abstractmethod
    def search(self, queries: NDArray[np.uint8], k: int, value: int, allowed: Mask | None) -> Nearest:
        """Return the `k` nearest codes of each query among those allowed, ordered by (distance, id)."""

    @abstractmethod
    def range_search(
        self, queries: NDArray[np.uint8], radius: int, value: int | None, allowed: Mask | None
    ) -> Within:
        """Return every allowed code at distance <= radius of each query; `value` is None if the user gave none."""

    def details(self) -> dict[str, int | str]:
        """Return what `info` tells beyond the type."""
        return {}

    @classmethod
    def _refuse(cls, what: str, reason: str, can: str) -> NoReturn:
        raise BackendError(f"index type {cls.name} cannot {what}: {reason}; types that can: {can}")


class Bucketed(Kind):
    """A type that compares a query with the codes of some buckets, as many as an attribute of FAISS's index says."""

    attribute: ClassVar[str]

    def __init__(self, index: Any) -> None:
        """Wrap an index of FAISS."""
        super().__init__(index)
        self._lock = threading.Lock()  # FAISS takes the value from the index, not from the call
        self._default = int(getattr(index, self.attribute))

    @property
    def default(self) -> int:
        """The value of the search parameter for searches that do not set it."""
        return self._default

    def tune(self, value: int) -> None:
        """Set the value of the search parameter for searches that do not set it."""
        with self._lock:
            self._default = value
            setattr(self.index, self.attribute, value)

    def search(self, queries: NDArray[np.uint8], k: int, value: int, allowed: Mask | None) -> Nearest:
        """Return the `k` nearest codes of each query; ids of -1 where the buckets hold fewer."""
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

    def range_search(
        self, queries: NDArray[np.uint8], radius: int, value: int | None, allowed: Mask | None
    ) -> Within:
        """Return the codes of the buckets at distance <= radius of each query."""
        with self._lock:
            setattr(self.index, self.attribute, self._default if value is None else value)
            try:
                return within(self.index, queries, radius, allowed)
            finally:
                setattr(self.index, self.attribute, self._default)

    def _settle_ties(
        self, queries: NDArray[np.uint8], k: int, ids: NDArray[np.int64], distances: NDArray[np.int32]
    ) -> None:
        """Put the smallest ids first where more codes tie at the k-th distance than were fetched.

        Which of them FAISS's heap keeps is arbitrary: only a range search sees them all.
        """
        tied = distances[:, k - 1] == distances[:, -1]
        for query in np.flatnonzero(tied & (ids[:, -1] != NO_ID)):
            found = within(self.index, queries[query : query + 1], int(distances[query, k - 1]))
            ids[query, :k], distances[query, :k] = found.ids[:k], found.distances[:k]


def ordered(distances: NDArray[np.int32], ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Sort what FAISS found, (q, k) each, by (distance, id); unfilled places come last."""
    distances[ids == NO_ID] = NO_DISTANCE
    order = np.lexsort((ids, distances), axis=1)
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(distances, order, axis=1)


def within(index: Any, queries: NDArray[np.uint8], radius: int, allowed: Mask | None = None) -> Within:
    """Return what FAISS finds at distance <= radius, ordered by (distance, id)."""
    bounds, distances, ids = index.range_search(queries, radius + 1)  # FAISS means: less than
    owners = np.repeat(np.arange(len(queries)), np.diff(bounds.astype(np.int64)))
    if allowed is not None:
        stays = allowed[ids]
        owners, ids, distances = owners[stays], ids[stays], distances[stays]
    return Within.sort(len(queries), owners, ids, distances)


def stored_codes(flat: Any) -> NDArray[np.uint8]:
    """View the codes (n, bits/8) of an `IndexBinaryFlat`: valid as long as it lives and is not changed."""
    count, width = int(flat.ntotal), int(flat.code_size)
    if not count:
        return np.empty((0, width), np.uint8)
    return faiss.rev_swig_ptr(flat.xb.data(), count * width).reshape(count, width)
