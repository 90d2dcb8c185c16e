"""Type ivf: each code is in the list of its nearest centroid; a query searches the `nprobe` nearest lists.

With the compiled scan (`hamming.isa`) our own code searches FAISS's lists in place; FAISS only stores, trains and
saves them. Without it FAISS searches, and `Bucketed` orders ties.
"""

from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from transhash import hamming
from transhash.backends import CodeRows, SearchParameter, clustering
from transhash.results import Nearest, Within

from . import library as faiss
from .blocks import sample
from .hnsw import check_graph, checked_links
from .kind import Bucketed, Mask, stored_codes
from .layout import IVF, IndexFileCursor

# Above this number of lists FAISS's training, which clusters codes as floats, takes minutes, and its lists are not
# better than those of k-means in Hamming space.
_FLOAT_CLUSTERED = 1024

_PROBES = 1 << 23  # list numbers held in memory at once

_MORE_LISTS = 4  # factor by which nprobe grows while a query has found fewer than k codes

Places = tuple[NDArray[Any], NDArray[np.int64]]


class Ivf(Bucketed):
    """`faiss.IndexBinaryIVF`; with parameter `M` the centroids are found through a graph."""

    name = "ivf"
    magic = IVF
    build_params = ("nlist", "M", "nprobe")
    attribute = "nprobe"

    def __init__(self, index: Any) -> None:
        """Wrap FAISS's index."""
        super().__init__(index)
        self._parameter = SearchParameter("nprobe", 1, int(index.nlist))
        self._forget()

    def _forget(self) -> None:
        """Drop views and tables that adding or removing codes invalidates."""
        self._count: int | None = None
        self._lists: hamming.Lists | None = None
        self._where: Places | None = None

    def __len__(self) -> int:
        """Return the number of codes."""
        if self._count is None:
            self._count = super().__len__()
        return self._count

    @classmethod
    def train(cls, codes: CodeRows, params: dict[str, int]) -> Self:
        """Return an empty index with lists trained on the codes; `clustering.plan` gives the default numbers."""
        lists = cls.plan(codes, params)
        lists.learn(codes)
        return lists

    @classmethod
    def plan(cls, codes: CodeRows, params: dict[str, int]) -> Self:
        """Return an untrained index with numbers of lists for `len(codes)` codes; `learn` trains it."""
        nlist, nprobe = clustering.plan(len(codes), params.get("nlist"), params.get("nprobe"))
        bits = codes.shape[1] * 8
        quantizer = faiss.IndexBinaryHNSW(bits, checked_links(params["M"])) if "M" in params else None
        index = faiss.IndexBinaryIVF(quantizer or faiss.IndexBinaryFlat(bits), bits, nlist)
        index.nprobe = nprobe
        return cls(index)

    def learn(self, codes: CodeRows) -> None:
        """Train the centroids on a sample of the codes. This takes long if there are many lists."""
        index, nlist = self.index, int(self.index.nlist)
        points = sample(codes, nlist * clustering.POINTS_PER_LIST)
        if nlist > _FLOAT_CLUSTERED:
            # With nlist centroids already in the quantizer, `train` below does not cluster.
            faiss.downcast_IndexBinary(index.quantizer).add(clustering.centroids(points, nlist))
        index.cp.min_points_per_centroid = 1  # otherwise FAISS warns on stderr about few points
        index.cp.max_points_per_centroid = clustering.POINTS_PER_LIST
        index.train(points)

    @classmethod
    def map(cls, path: Path, trusted: bool = False) -> Self:
        """Map a file: the system pages lists in and out; `check` reads their ids once."""
        with path.open("rb") as file:
            IndexFileCursor(file).whole()
            # FAISS opens files only by name. This name is of the very file that was checked, not of one that has
            # replaced it since, and is valid UTF-8 whatever the real name is.
            same = f"/dev/fd/{file.fileno()}"
            kind = cls(faiss.read_index_binary(same, faiss.IO_FLAG_MMAP_IFC))
        if not trusted:
            kind.check()
        return kind

    def check(self) -> None:
        """Raise ValueError unless every id from 0 to n - 1 is in the lists exactly once."""
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
        if not seen.all():  # the lists hold n ids, so a missing id means that another occurs twice
            raise ValueError("an id is in the lists twice")

    @property
    def search_parameter(self) -> SearchParameter:
        """Number of lists that a search probes."""
        return self._parameter

    @property
    def lists(self) -> hamming.Lists:
        """View the ids and codes of all lists."""
        if self._lists is None:
            ids, codes = zip(*(self._list(place) for place in range(self.index.nlist)), strict=True)
            self._lists = hamming.Lists(codes, ids, self._flat_centroids())
        return self._lists

    def add(self, codes: NDArray[np.uint8]) -> None:
        """Append codes (n, bits/8) uint8."""
        self._forget()
        for start in range(0, len(codes), _PROBES):
            block = codes[start : start + _PROBES]
            places = self.nearest(block)
            # `index.add` would find the lists with FAISS's slower search; add_core takes them as given.
            self.index.add_core(len(block), faiss.swig_ptr(block), None, faiss.swig_ptr(places))

    def nearest(self, codes: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the list (n,) of each code, that of its nearest centroid."""
        return np.ascontiguousarray(self._probes(codes, 1)[:, 0])

    def remove(self, keep: Mask) -> None:
        """Drop the codes where `keep` (n,) is false."""
        # In place: FAISS's remove_ids would leave gaps in the ids, which are positions here.
        ranks = np.cumsum(keep) - 1
        for place, (ids, codes) in enumerate(zip(self.lists.ids, self.lists.codes, strict=True)):
            stays = keep[ids]
            left = int(stays.sum())
            ids[:left], codes[:left] = ranks[ids[stays]], codes[stays]
            self.index.invlists.resize(place, left)
        self.index.ntotal = int(keep.sum())
        self._forget()

    def reconstruct(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return a copy of the codes with ids `start` to `stop`; a part of them needs a table of all positions."""
        out = np.empty((stop - start, self.bits // 8), np.uint8)
        if len(out) == len(self):
            for ids, codes in zip(self.lists.ids, self.lists.codes, strict=True):
                out[ids] = codes
        elif len(out):
            places, ends = self._places()
            wanted = places[start:stop].astype(np.int64)
            lists = np.searchsorted(ends, wanted, side="right")
            order = np.argsort(lists, kind="stable")
            for rows in np.split(order, np.flatnonzero(np.diff(lists[order])) + 1):
                codes = self.lists.codes[lists[rows[0]]]
                out[rows] = codes[wanted[rows] - ends[lists[rows[0]]] + len(codes)]
        return out

    def _search(self, queries: NDArray[np.uint8], k: int, value: int, allowed: Mask | None) -> Nearest:
        """Return the `k` nearest allowed codes of each query in the lists that are probed."""
        if allowed is None and not hamming.isa:
            return super()._search(queries, k, value, None)
        if hamming.isa and self.lists.centroids is not None:
            return hamming.top_k_probed(queries, self.lists, value, k, allowed)
        parts = [
            hamming.top_k_lists(block, self.lists, self._probes(block, value), k, allowed)
            for block in _blocks(queries, value)
        ]
        return Nearest(
            np.concatenate([part.ids for part in parts]), np.concatenate([part.distances for part in parts])
        )

    def _search_further(self, queries: NDArray[np.uint8], k: int, value: int, allowed: Mask | None) -> Nearest:
        """Probe more lists; all lists together hold at least `k` codes."""
        return self.search(queries, k, min(_MORE_LISTS * value, int(self.index.nlist)), allowed)

    def range_search(
        self, queries: NDArray[np.uint8], radius: int, value: int | None, allowed: Mask | None
    ) -> Within:
        """Return every allowed code at distance <= radius of each query in the lists that are probed."""
        if not hamming.isa:
            return super().range_search(queries, radius, value, allowed)
        value = self.default if value is None else value
        parts = [
            hamming.within_lists(block, self.lists, self._probes(block, value), radius, allowed)
            for block in _blocks(queries, value)
        ]
        ids = np.concatenate([part.ids for part in parts])
        distances = np.concatenate([part.distances for part in parts])
        counts = np.concatenate([[0], *(np.diff(part.offsets) for part in parts)])
        return Within(np.cumsum(counts), ids, distances)

    def details(self) -> dict[str, int | str]:
        """Return the parameters, the length of the longest list, and the size."""
        sizes = [int(self.index.invlists.list_size(place)) for place in range(self.index.nlist)]
        return {
            "nlist": len(sizes),
            "nprobe": self.default,
            "longest_list": max(sizes),
            "bytes": len(self) * (self.bits // 8 + 8) + len(sizes) * self.bits // 8,
        }

    def _places(self) -> Places:
        """Return the position of each code, (n,), and the end of each list, in the concatenation of all lists."""
        if self._where is None:
            ends = np.cumsum([len(ids) for ids in self.lists.ids])
            places: NDArray[Any] = np.empty(len(self), np.uint32 if len(self) < 1 << 32 else np.uint64)
            for ids, end in zip(self.lists.ids, ends, strict=True):
                places[ids] = np.arange(end - len(ids), end)
            self._where = (places, ends)
        return self._where

    def _probes(self, queries: NDArray[np.uint8], nprobe: int) -> NDArray[np.int64]:
        """Return the lists with the centroids nearest to each query, (q, nprobe); -1 if a graph finds fewer.

        If all are probed, their order does not matter, and the graph, which may miss centroids, is not used.
        """
        if nprobe == self.index.nlist:
            return np.tile(np.arange(nprobe), (len(queries), 1))
        centroids = self._flat_centroids() if hamming.isa else None
        if centroids is None:
            return faiss.downcast_IndexBinary(self.index.quantizer).search(queries, nprobe)[1]
        return hamming.top_k(queries, centroids, nprobe).ids

    def _flat_centroids(self) -> NDArray[np.uint8] | None:
        """View the centroids (nlist, bits/8), or return None if they are in a graph."""
        quantizer = faiss.downcast_IndexBinary(self.index.quantizer)
        return stored_codes(quantizer) if type(quantizer) is faiss.IndexBinaryFlat else None

    def _list(self, place: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """View ids (m,) and codes (m, bits/8) of a list."""
        lists, width = self.index.invlists, self.bits // 8
        size = int(lists.list_size(place))
        if not size:
            return np.empty(0, np.int64), np.empty((0, width), np.uint8)
        codes = faiss.rev_swig_ptr(lists.get_codes(place), size * width).reshape(size, width)
        return faiss.rev_swig_ptr(lists.get_ids(place), size), codes


def _blocks(queries: NDArray[np.uint8], nprobe: int) -> list[NDArray[np.uint8]]:
    """Cut queries into blocks, at least one, whose list numbers take at most 64 MiB."""
    size = max(1, _PROBES // nprobe)
    return [queries[start : start + size] for start in range(0, max(1, len(queries)), size)]
