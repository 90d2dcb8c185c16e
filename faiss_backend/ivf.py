"""Type ivf: codes in lists by their nearest centroid, of which a query is compared with the nearest `nprobe`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import faiss
import numpy as np
from numpy.typing import NDArray

from transhash import hamming
from transhash.backends import Knob
from transhash.errors import BackendError
from transhash.results import NO_DISTANCE, NO_ID, Matches

from .hnsw import check_graph, checked_links
from .kind import Bucketed, Mask
from .layout import IVF, Walk

_POINTS_PER_LIST = 39  # FAISS asks for at least so many training points a centroid


class Ivf(Bucketed):
    """`faiss.IndexBinaryIVF`; with parameter `M` the centroids are found through a graph."""

    name = "ivf"
    magic = IVF
    build_params = ("nlist", "M", "nprobe")
    attribute = "nprobe"

    @classmethod
    def train(cls, codes: NDArray[np.uint8], params: dict[str, int]) -> Self:
        """Return an empty index whose lists suit the codes; by default 4·√n of them, and an eighth is probed."""
        nlist = params.get("nlist", max(1, min(int(4 * len(codes) ** 0.5), len(codes) // _POINTS_PER_LIST)))
        if nlist > len(codes):
            raise BackendError(f"nlist={nlist}: more lists than the {len(codes)} codes; choose fewer")
        graph = f"_HNSW{checked_links(params['M'])}" if "M" in params else ""
        index = faiss.index_binary_factory(codes.shape[1] * 8, f"BIVF{nlist}{graph}")
        index.cp.min_points_per_centroid = 1  # few points are the user's choice, not a warning on stderr
        index.train(codes)
        index.nprobe = min(params.get("nprobe", -(-nlist // 8)), nlist)
        return cls(index)

    @classmethod
    def map(cls, path: Path) -> Self:
        """Map a file: the lists are in memory as far as the system has room, their ids are read once."""
        with path.open("rb") as file:
            Walk(file).whole()
        kind = cls(faiss.read_index_binary(str(path), faiss.IO_FLAG_MMAP_IFC))
        kind.check()
        return kind

    def check(self) -> None:
        """Raise ValueError unless every id from 0 to n stands in the lists exactly once."""
        index, quantizer = self.index, faiss.downcast_IndexBinary(self.index.quantizer)
        if type(quantizer) is faiss.IndexBinaryHNSW:
            check_graph(quantizer)
        if not index.is_trained or not 1 <= index.nprobe <= index.nlist:
            raise ValueError("untrained")
        seen = np.zeros(len(self), np.bool_)
        for _, ids, _ in self._lists():
            if ids.min() < 0 or ids.max() >= len(self):
                raise ValueError("an id outside the index")
            seen[ids] = True
        if not seen.all():  # there are as many places as ids
            raise ValueError("an id twice")

    @property
    def knob(self) -> Knob:
        """Lists that a search looks into."""
        return Knob("nprobe", 1, int(self.index.nlist))

    def remove(self, keep: Mask) -> None:
        """Drop the codes where `keep` (n,) is false."""
        ranks = np.cumsum(keep) - 1
        for place, ids, codes in self._lists():
            stays = keep[ids]
            left = int(stays.sum())
            ids[:left], codes[:left] = ranks[ids[stays]], codes[stays]
            self.index.invlists.resize(place, left)
        self.index.ntotal = int(keep.sum())

    def reconstruct(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return a copy of the codes with ids `start` to `stop`; looks into every list."""
        out = np.empty((stop - start, self.bits // 8), np.uint8)
        for _, ids, codes in self._lists():
            inside = (ids >= start) & (ids < stop)
            out[ids[inside] - start] = codes[inside]
        return out

    def search(self, queries: NDArray[np.uint8], k: int, effort: int, allowed: Mask | None) -> Matches:
        """Return the `k` nearest codes of each query in the lists that are probed, ordered by (distance, id).

        Without `allowed` rows end in ids of -1 where these lists hold fewer; with it more lists are probed until k
        codes are found.
        """
        if allowed is None:
            return super().search(queries, k, effort, None)
        return self._filtered(queries, k, effort, allowed)

    def details(self) -> dict[str, int | str]:
        """Return the parameters, the imbalance and the size."""
        sizes = np.array([self.index.invlists.list_size(place) for place in range(self.index.nlist)])
        return {
            "nlist": len(sizes),
            "nprobe": self.effort,
            "longest_list": int(sizes.max()),
            "bytes": len(self) * (self.bits // 8 + 8) + len(sizes) * self.bits // 8,
        }

    def _filtered(self, queries: NDArray[np.uint8], k: int, nprobe: int, allowed: Mask) -> Matches:
        ids = np.full((len(queries), k), NO_ID, np.int64)
        distances = np.full((len(queries), k), NO_DISTANCE, np.int32)
        pending = np.arange(len(queries))
        while len(pending):
            _, probes = self.index.quantizer.search(queries[pending], nprobe)
            for query, places in zip(pending, probes, strict=True):
                among, codes = self._allowed_of(places, allowed)
                found = hamming.top_k(queries[query : query + 1], codes, k)
                filled = found.ids.shape[1]
                ids[query, :filled], distances[query, :filled] = among[found.ids[0]], found.distances[0]
            if nprobe == self.index.nlist:
                break
            pending = pending[ids[pending, -1] == NO_ID]
            nprobe = min(4 * nprobe, int(self.index.nlist))
        return Matches(ids, distances)

    def _allowed_of(self, places: NDArray[np.int64], allowed: Mask) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Return what is allowed of some lists, ordered by id: ids (m,) and codes (m, bits/8)."""
        lists = [self._list(place) for place in places.tolist() if place >= 0]  # a graph may not find them all
        ids, codes = np.concatenate([ids for ids, _ in lists]), np.concatenate([codes for _, codes in lists])
        chosen = np.flatnonzero(allowed[ids])
        chosen = chosen[np.argsort(ids[chosen])]
        return ids[chosen], codes[chosen]

    def _lists(self) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.uint8]]]:
        """Yield number, ids and codes of every list that holds any, as views."""
        for place in range(self.index.nlist):
            ids, codes = self._list(place)
            if len(ids):
                yield place, ids, codes

    def _list(self, place: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """View ids (m,) and codes (m, bits/8) of a list."""
        lists, width = self.index.invlists, self.bits // 8
        size = int(lists.list_size(place))
        if not size:
            return np.empty(0, np.int64), np.empty((0, width), np.uint8)
        codes = faiss.rev_swig_ptr(lists.get_codes(place), size * width).reshape(size, width)
        return faiss.rev_swig_ptr(lists.get_ids(place), size), codes
