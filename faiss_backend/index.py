"""FAISS binary indexes with answers that do not depend on how FAISS breaks ties."""

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from transhash import hamming
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

    def remove(self, keep: NDArray[np.bool_]) -> None:
        """Drop the codes where `keep` (n,) is false; those that stay are numbered anew, in their order."""
        if not self._ivf:
            kept = faiss.IDSelectorBitmap(np.packbits(keep, bitorder="little"))
            self._index.remove_ids(faiss.IDSelectorNot(kept))
            return
        ranks = np.cumsum(keep) - 1
        for place, ids, codes in self._lists():
            stays = keep[ids]
            left = int(stays.sum())
            ids[:left], codes[:left] = ranks[ids[stays]], codes[stays]
            self._index.invlists.resize(place, left)
        self._index.ntotal = int(keep.sum())

    def reconstruct(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return a copy of the codes with ids `start` to `stop`, (stop - start, bits/8) uint8."""
        if not self._ivf:
            return self._codes()[start:stop].copy()
        out = np.empty((stop - start, self.bits // 8), np.uint8)
        for _, ids, codes in self._lists():
            inside = (ids >= start) & (ids < stop)
            out[ids[inside] - start] = codes[inside]
        return out

    def search(
        self,
        queries: NDArray[np.uint8],
        k: int,
        params: Mapping[str, int] | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Matches:
        """Return the min(k, n) nearest codes of each query among those `allowed`, ordered by (distance, id).

        Type ``ivf`` takes ``nprobe``; rows end in ids of -1 where the probed lists hold fewer codes.
        """
        nprobe = self._search_nprobe(params)
        if allowed is not None:
            return self._search_allowed(queries, k, allowed)
        k = min(k, len(self))
        if not k:
            return Matches(np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.int32))
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
        self,
        queries: NDArray[np.uint8],
        radius: int,
        params: Mapping[str, int] | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> RangeMatches:
        """Return every `allowed` code at distance <= radius of each query, ordered by (distance, id)."""
        nprobe = self._search_nprobe(params)
        with self._lock:
            if self._ivf:
                self._index.nprobe = nprobe
            found = self._within(queries, radius)
        if allowed is None:
            return found
        stays = allowed[found.ids]
        owners = np.repeat(np.arange(len(queries)), np.diff(found.offsets))[stays]
        return RangeMatches.sort(len(queries), owners, found.ids[stays], found.distances[stays])

    def save(self, folder: Path) -> None:
        """Write the index as FAISS's own file, which `faiss.read_index_binary` opens."""
        if self._ivf:
            self._index.nprobe = self._nprobe
        storage.write(self._index, folder)

    @classmethod
    def load(cls, folder: Path, mmap: bool = False) -> Self:
        """Open what `save` wrote. Raises BackendError if it does not hold together."""
        if mmap:
            raise BackendError("the faiss backend does not map its files yet")
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

    def _codes(self) -> NDArray[np.uint8]:
        """View the codes of a flat index."""
        view = faiss.rev_swig_ptr(self._index.xb.data(), len(self) * self.bits // 8)
        return view.reshape(len(self), self.bits // 8)

    def _lists(self) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.uint8]]]:
        """Yield the number, the ids and the codes of every list that holds any, as views."""
        lists = self._index.invlists
        for place in range(self._index.nlist):
            size = lists.list_size(place)
            if size:
                codes = faiss.rev_swig_ptr(lists.get_codes(place), size * self.bits // 8)
                yield place, faiss.rev_swig_ptr(lists.get_ids(place), size), codes.reshape(size, self.bits // 8)

    def _search_allowed(self, queries: NDArray[np.uint8], k: int, allowed: NDArray[np.bool_]) -> Matches:
        if not self._ivf:
            return hamming.top_k(queries, self._codes(), k, allowed)
        chosen = np.flatnonzero(allowed)
        codes = np.empty((len(chosen), self.bits // 8), np.uint8)
        for _, ids, own in self._lists():
            inside = allowed[ids]
            codes[np.searchsorted(chosen, ids[inside])] = own[inside]
        found = hamming.top_k(queries, codes, k)
        return Matches(chosen[found.ids], found.distances)

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
