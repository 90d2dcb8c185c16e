"""Type ivf: codes in lists by their nearest centroid, of which a query is compared with the nearest `nprobe`."""

from pathlib import Path
from typing import Any, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from transhash import clustering, hamming
from transhash.backends import CodeRows, SearchParameter
from transhash.results import NO_ID, Nearest, Within

from .blocks import sample
from .hnsw import check_graph, checked_links
from .kind import Bucketed, Mask, stored_codes
from .layout import IVF, IndexFileCursor

_MANY = 1024  # lists, from which on FAISS, which clusters codes as floats, takes long, and its lists are no better
_PROBES = 1 << 23  # numbers of lists to probe that are kept at once

Places = tuple[NDArray[Any], NDArray[np.int64]]


class Ivf(Bucketed):
    """`faiss.IndexBinaryIVF`; with parameter `M` the centroids are found through a graph."""

    name = "ivf"
    magic = IVF
    build_params = ("nlist", "M", "nprobe")
    attribute = "nprobe"

    def __init__(self, index: Any) -> None:
        """Wrap an index of FAISS."""
        super().__init__(index)
        self._forget()

    def _forget(self) -> None:
        """Drop what holds only until something is added or removed."""
        self._lists: hamming.Lists | None = None
        self._where: Places | None = None
        self._centroids: NDArray[np.uint8] | None = None

    @classmethod
    def train(cls, codes: CodeRows, params: dict[str, int]) -> Self:
        """Return an empty index whose lists suit the codes; numbers by default are those of `clustering.plan`."""
        lists = cls.plan(codes, params)
        lists.learn(codes)
        return lists

    @classmethod
    def plan(cls, codes: CodeRows, params: dict[str, int]) -> Self:
        """Return an index without lists, for so many codes; `learn` makes them."""
        nlist, nprobe = clustering.plan(len(codes), params.get("nlist"), params.get("nprobe"))
        bits = codes.shape[1] * 8
        quantizer = faiss.IndexBinaryHNSW(bits, checked_links(params["M"])) if "M" in params else None
        index = faiss.IndexBinaryIVF(quantizer or faiss.IndexBinaryFlat(bits), bits, nlist)
        index.nprobe = nprobe
        return cls(index)

    def learn(self, codes: CodeRows) -> None:
        """Find lists that suit the codes, which takes long if these are many."""
        index, nlist = self.index, int(self.index.nlist)
        points = sample(codes, nlist * clustering.POINTS_PER_LIST)
        if nlist > _MANY:
            faiss.downcast_IndexBinary(index.quantizer).add(clustering.centroids(points, nlist))
        index.cp.min_points_per_centroid = 1  # few points are the user's choice, not a warning on stderr
        index.cp.max_points_per_centroid = clustering.POINTS_PER_LIST
        index.train(points)

    @classmethod
    def map(cls, path: Path) -> Self:
        """Map a file: the lists are in memory as far as the system has room, their ids are read once."""
        with path.open("rb") as file:
            IndexFileCursor(file).whole()
            same = f"/dev/fd/{file.fileno()}"  # what was checked, whatever bytes its name has
            kind = cls(faiss.read_index_binary(same, faiss.IO_FLAG_MMAP_IFC))
        kind.check()
        return kind

    def check(self) -> None:
        """Raise ValueError unless every id from 0 to n stands in the lists exactly once."""
        index, quantizer = self.index, faiss.downcast_IndexBinary(self.index.quantizer)
        if type(quantizer) is faiss.IndexBinaryHNSW:
            check_graph(quantizer)
        if not 1 <= index.nprobe <= index.nlist:
            raise ValueError(f"nprobe={index.nprobe} of {index.nlist} lists")
        seen = np.zeros(len(self), np.bool_)
        for ids in self.lists.ids:
            if len(ids) and (ids.min() < 0 or ids.max() >= len(self)):
                raise ValueError("an id outside the index")
            seen[ids] = True
        if not seen.all():  # there are as many places as ids
            raise ValueError("an id twice")

    @property
    def search_parameter(self) -> SearchParameter:
        """Lists that a search looks into."""
        return SearchParameter("nprobe", 1, int(self.index.nlist))

    @property
    def lists(self) -> hamming.Lists:
        """View the ids and codes of all lists."""
        if self._lists is None:
            ids, codes = zip(*(self._list(place) for place in range(self.index.nlist)), strict=True)
            self._lists = hamming.Lists(codes, ids)
        return self._lists

    def add(self, codes: NDArray[np.uint8]) -> None:
        """Add codes (n, bits/8) uint8 behind those there are."""
        self._forget()
        for start in range(0, len(codes), _PROBES):
            some = codes[start : start + _PROBES]
            places = self.nearest(some)
            self.index.add_core(len(some), faiss.swig_ptr(some), None, faiss.swig_ptr(places))

    def nearest(self, codes: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the list (n,) of each code, by its centroid."""
        return np.ascontiguousarray(self._probes(codes, 1)[:, 0])

    def remove(self, keep: Mask) -> None:
        """Drop the codes where `keep` (n,) is false."""
        ranks = np.cumsum(keep) - 1
        for place, (ids, codes) in enumerate(zip(self.lists.ids, self.lists.codes, strict=True)):
            stays = keep[ids]
            left = int(stays.sum())
            ids[:left], codes[:left] = ranks[ids[stays]], codes[stays]
            self.index.invlists.resize(place, left)
        self.index.ntotal = int(keep.sum())
        self._forget()

    def reconstruct(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return a copy of the codes with ids `start` to `stop`; for less than all of them learns where each is."""
        out = np.empty((stop - start, self.bits // 8), np.uint8)
        if len(out) == len(self):
            for ids, codes in zip(self.lists.ids, self.lists.codes, strict=True):
                out[ids] = codes
        elif len(out):
            places, ends = self._places()
            own = places[start:stop].astype(np.int64)
            lists = np.searchsorted(ends, own, side="right")
            order = np.argsort(lists, kind="stable")
            for rows in np.split(order, np.flatnonzero(np.diff(lists[order])) + 1):
                codes = self.lists.codes[lists[rows[0]]]
                out[rows] = codes[own[rows] - ends[lists[rows[0]]] + len(codes)]
        return out

    def search(self, queries: NDArray[np.uint8], k: int, value: int, allowed: Mask | None) -> Nearest:
        """Return the `k` nearest codes of each query in the lists that are probed, ordered by (distance, id).

        Without `allowed` rows end in ids of -1 where these lists hold fewer; with it more lists are probed until k
        codes are found.
        """
        if allowed is None and not hamming.isa:
            return super().search(queries, k, value, None)
        parts = [
            hamming.top_k_lists(some, self.lists, self._probes(some, value), k, allowed)
            for some in _blocks(queries, value)
        ]
        found = parts[0]
        if len(parts) > 1:
            ids = np.concatenate([part.ids for part in parts])
            found = Nearest(ids, np.concatenate([part.distances for part in parts]))
        short = np.flatnonzero(found.ids[:, -1] == NO_ID)
        if allowed is not None and len(short) and value < self.index.nlist:
            more = self.search(queries[short], k, min(4 * value, int(self.index.nlist)), allowed)
            found.ids[short], found.distances[short] = more.ids, more.distances
        return found

    def range_search(
        self, queries: NDArray[np.uint8], radius: int, value: int | None, allowed: Mask | None
    ) -> Within:
        """Return every allowed code at distance <= radius of each query in the lists that are probed."""
        if not hamming.isa:
            return super().range_search(queries, radius, value, allowed)
        value = self.default if value is None else value
        parts = [
            hamming.within_lists(some, self.lists, self._probes(some, value), radius, allowed)
            for some in _blocks(queries, value)
        ]
        ids = np.concatenate([part.ids for part in parts])
        distances = np.concatenate([part.distances for part in parts])
        counts = np.concatenate([[0], *(np.diff(part.offsets) for part in parts)])
        return Within(np.cumsum(counts), ids, distances)

    def details(self) -> dict[str, int | str]:
        """Return the parameters, the imbalance and the size."""
        sizes = [len(ids) for ids in self.lists.ids]
        return {
            "nlist": len(sizes),
            "nprobe": self.default,
            "longest_list": max(sizes),
            "bytes": len(self) * (self.bits // 8 + 8) + len(sizes) * self.bits // 8,
        }

    def _places(self) -> Places:
        """Return where each code is, (n,), counting through the lists in their order, and where each list ends."""
        if self._where is None:
            ends = np.cumsum([len(ids) for ids in self.lists.ids])
            places: NDArray[Any] = np.empty(len(self), np.uint32 if len(self) < 1 << 32 else np.uint64)
            for ids, end in zip(self.lists.ids, ends, strict=True):
                places[ids] = np.arange(end - len(ids), end)
            self._where = (places, ends)
        return self._where

    def _probes(self, queries: NDArray[np.uint8], nprobe: int) -> NDArray[np.int64]:
        """Return the lists whose centroids are nearest to each query, (q, nprobe); -1 where a graph finds no more."""
        if nprobe == self.index.nlist:
            return np.tile(np.arange(nprobe), (len(queries), 1))
        if self._centroids is None:
            quantizer = faiss.downcast_IndexBinary(self.index.quantizer)
            if not hamming.isa or type(quantizer) is not faiss.IndexBinaryFlat:
                return quantizer.search(queries, nprobe)[1]
            self._centroids = stored_codes(quantizer)
        return hamming.top_k(queries, self._centroids, nprobe).ids

    def _list(self, place: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """View ids (m,) and codes (m, bits/8) of a list."""
        lists, width = self.index.invlists, self.bits // 8
        size = int(lists.list_size(place))
        if not size:
            return np.empty(0, np.int64), np.empty((0, width), np.uint8)
        codes = faiss.rev_swig_ptr(lists.get_codes(place), size * width).reshape(size, width)
        return faiss.rev_swig_ptr(lists.get_ids(place), size), codes


def _blocks(queries: NDArray[np.uint8], nprobe: int) -> list[NDArray[np.uint8]]:
    """Cut queries into blocks, at least one, so that what they probe takes little memory."""
    size = max(1, _PROBES // nprobe)
    return [queries[start : start + size] for start in range(0, max(1, len(queries)), size)]
