"""FAISS binary indexes with answers that do not depend on how FAISS breaks ties."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from transhash.backends import check_params
from transhash.errors import BackendError
from transhash.results import NO_DISTANCE, NO_ID, Matches, RangeMatches

from . import storage

_POINTS_PER_LIST = 39  # FAISS asks for at least so many training points a centroid
_SPARE = 16  # places searched beyond k, so that most ties at the k-th distance are seen at once


class FaissIndex:
    """`IndexBinaryFlat` (type ``flat``, exact) or `IndexBinaryIVF` (type ``ivf``, probes `nprobe` of `nlist`)."""

    types: ClassVar[tuple[str, ...]] = ("flat", "ivf")

    def __init__(self, index: Any) -> None:
        """Wrap a `faiss.IndexBinaryFlat` or `faiss.IndexBinaryIVF`."""
        self._index = index
        self._ivf = isinstance(index, faiss.IndexBinaryIVF)
        self._nprobe = index.nprobe if self._ivf else 0
        self._lock = threading.Lock()  # FAISS takes nprobe of a range search from the index itself
        self.bits = int(index.d)

    @classmethod
    def build(
        cls, codes: NDArray[np.uint8], *, type: str | None = None, params: Mapping[str, int] | None = None
    ) -> Self:
        """Build an index of codes (n, bits/8) uint8.

        Type ``ivf`` takes ``nlist`` (default: 4·√n, at most n/39) and ``nprobe`` (default: an eighth of it).
        """
        type = type or cls.types[0]
        bits = codes.shape[1] * 8
        if type == "flat":
            check_params(params, (), "index type flat")
            index = faiss.IndexBinaryFlat(bits)
        elif type == "ivf":
            index = _train_ivf(codes, check_params(params, ("nlist", "nprobe"), "index type ivf"))
        else:
            raise BackendError(f"the faiss backend has no index type {type!r}; it has: {', '.join(cls.types)}")
        index.add(codes)
        return cls(index)

    def __len__(self) -> int:
        """Return the number of codes."""
        return int(self._index.ntotal)

    def add(self, codes: NDArray[np.uint8]) -> None:
        """Add codes (n, bits/8) uint8 behind those there are."""
        self._index.add(codes)

    def search(self, queries: NDArray[np.uint8], k: int, params: Mapping[str, int] | None = None) -> Matches:
        """Return the min(k, n) nearest codes of each query, ordered by (distance, id).

        Type ``ivf`` takes ``nprobe``; rows end in ids of -1 where the probed lists hold fewer codes.
        """
        nprobe = self._search_nprobe(params)
        k = min(k, len(self))
        if not self._ivf:  # a flat scan meets ids in order, and keeps the first of equals
            distances, ids = self._index.search(queries, k)
            return Matches(ids, distances)
        places = min(k + max(k, _SPARE), len(self))
        with self._lock:
            self._index.nprobe = nprobe
            distances, ids = self._index.search(queries, places)
            distances[ids == NO_ID] = NO_DISTANCE
            order = np.lexsort((ids, distances), axis=1)
            ids = np.take_along_axis(ids, order, axis=1)
            distances = np.take_along_axis(distances, order, axis=1)
            if places < len(self):
                self._settle_ties(queries, k, ids, distances)
        return Matches(np.ascontiguousarray(ids[:, :k]), np.ascontiguousarray(distances[:, :k]))

    def range_search(
        self, queries: NDArray[np.uint8], radius: int, params: Mapping[str, int] | None = None
    ) -> RangeMatches:
        """Return every code at distance <= radius of each query, ordered by (distance, id)."""
        nprobe = self._search_nprobe(params)
        with self._lock:
            if self._ivf:
                self._index.nprobe = nprobe
            return self._within(queries, radius)

    def save(self, folder: Path) -> None:
        """Write the index as FAISS's own file, which `faiss.read_index_binary` opens."""
        if self._ivf:
            self._index.nprobe = self._nprobe
        storage.write(self._index, folder)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Open what `save` wrote. Raises BackendError if it does not hold together."""
        return cls(storage.read(folder))

    def info(self) -> dict[str, int | str]:
        """Describe the index."""
        size = len(self) * self._index.code_size
        if not self._ivf:
            return {"type": "flat", "bytes": size}
        lists = self._index.invlists
        longest = max(lists.list_size(place) for place in range(self._index.nlist))
        return {
            "type": "ivf",
            "nlist": int(self._index.nlist),
            "nprobe": int(self._nprobe),
            "longest_list": int(longest),
            "bytes": size + 8 * len(self) + self._index.nlist * self._index.code_size,
        }

    def _search_nprobe(self, params: Mapping[str, int] | None) -> int:
        known = ("nprobe",) if self._ivf else ()
        return check_params(params, known, f"searching type {'ivf' if self._ivf else 'flat'}").get(
            "nprobe", self._nprobe
        )

    def _settle_ties(
        self,
        queries: NDArray[np.uint8],
        k: int,
        ids: NDArray[np.int64],
        distances: NDArray[np.int32],
    ) -> None:
        """Put the smallest ids first where more codes tie at the k-th distance than were fetched.

        Which of them FAISS's heap keeps is arbitrary: only a range search sees them all.
        """
        tied = distances[:, k - 1] == distances[:, -1]
        for query in np.flatnonzero(tied & (ids[:, -1] != NO_ID)):
            found = self._within(queries[query : query + 1], int(distances[query, k - 1]))
            ids[query, :k], distances[query, :k] = found.ids[:k], found.distances[:k]

    def _within(self, queries: NDArray[np.uint8], radius: int) -> RangeMatches:
        bounds, distances, ids = self._index.range_search(queries, radius + 1)  # FAISS means: less than
        owners = np.repeat(np.arange(len(queries)), np.diff(bounds.astype(np.int64)))
        return RangeMatches.sort(len(queries), owners, ids, distances)


def _train_ivf(codes: NDArray[np.uint8], params: dict[str, int]) -> Any:
    nlist = params.get("nlist", max(1, min(int(4 * len(codes) ** 0.5), len(codes) // _POINTS_PER_LIST)))
    if nlist > len(codes):
        raise BackendError(f"nlist={nlist}: more lists than the {len(codes)} codes; choose fewer")
    index = faiss.index_binary_factory(codes.shape[1] * 8, f"BIVF{nlist}")
    index.cp.min_points_per_centroid = 1  # few points are the user's choice, not a warning on stderr
    index.train(codes)
    index.nprobe = min(params.get("nprobe", -(-nlist // 8)), nlist)
    return index
