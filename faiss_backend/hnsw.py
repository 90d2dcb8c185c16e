"""Type hnsw: a graph whose edges lead from code to code towards the query."""

from typing import Any, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from transhash import hamming
from transhash.backends import CodeRows, SearchParameter
from transhash.errors import BackendError
from transhash.results import NO_ID, Nearest, Within

from .kind import SPARE, Kind, Mask, ordered, stored_codes
from .layout import HNSW

_EF = 64
_LEAST_EF = 16  # FAISS's own; a search for k keeps k + SPARE in sight anyway
_EF_CONSTRUCTION = 100
_M = 16
_MOST_LINKS = 256  # of a node on one level: more is no use, and takes memory for every code
_MOST_EF = 1 << 20


class Hnsw(Kind):
    """`faiss.IndexBinaryHNSW`."""

    name = "hnsw"
    magic = HNSW
    build_params = ("M", "ef_construction", "ef")

    @classmethod
    def train(cls, codes: CodeRows, params: dict[str, int]) -> Self:
        """Return an empty graph: `M` links a node and level, twice as many on the lowest."""
        index = faiss.IndexBinaryHNSW(codes.shape[1] * 8, checked_links(params.get("M", _M)))
        index.hnsw.efConstruction = params.get("ef_construction", _EF_CONSTRUCTION)
        index.hnsw.efSearch = params.get("ef", _EF)
        if max(index.hnsw.efConstruction, index.hnsw.efSearch) > _MOST_EF:
            raise BackendError(f"ef and ef_construction: must be at most {_MOST_EF}")
        return cls(index)

    def check(self) -> None:
        """Raise ValueError unless every edge leads to a code."""
        check_graph(self.index)

    @property
    def search_parameter(self) -> SearchParameter:
        """Codes that a search keeps in sight."""
        return SearchParameter("ef", min(_LEAST_EF, len(self)), len(self))

    @property
    def default(self) -> int:
        """The `ef` of searches that do not set it."""
        return int(self.index.hnsw.efSearch)

    def tune(self, value: int) -> None:
        """Set `ef`."""
        self.index.hnsw.efSearch = value

    @property
    def codes(self) -> NDArray[np.uint8]:
        """View the codes (n, bits/8) uint8."""
        return stored_codes(faiss.downcast_IndexBinary(self.index.storage))

    def reconstruct(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return a copy of the codes with ids `start` to `stop`."""
        return np.array(self.codes[start:stop])

    def search(self, queries: NDArray[np.uint8], k: int, value: int, allowed: Mask | None) -> Nearest:
        """Return `k` near codes of each query among those allowed, ordered by (distance, id).

        A search that would keep every code in sight, or does not meet `k` that are allowed, is made by comparing all.
        """
        if value >= len(self):
            return hamming.top_k(queries, self.codes, k, allowed)
        places = min(k + SPARE, len(self))
        params = faiss.SearchParametersHNSW(efSearch=max(value, places))
        if allowed is not None:
            params.sel = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        ids, distances = ordered(*self.index.search(queries, places, params=params))
        ids, distances = np.ascontiguousarray(ids[:, :k]), np.ascontiguousarray(distances[:, :k])
        short = np.flatnonzero((ids == NO_ID).any(axis=1))
        if len(short):
            found = hamming.top_k(queries[short], self.codes, k, allowed)
            ids[short], distances[short] = found.ids, found.distances
        return Nearest(ids, distances)

    def range_search(
        self, queries: NDArray[np.uint8], radius: int, value: int | None, allowed: Mask | None
    ) -> Within:
        """Return every allowed code at distance <= radius of each query.

        All are compared: the graph leads to the nearest codes only.
        """
        return hamming.within(queries, self.codes, radius, allowed)

    def details(self) -> dict[str, int | str]:
        """Return the parameters and the size."""
        hnsw = self.index.hnsw
        return {
            "M": int(hnsw.nb_neighbors(0)) // 2,
            "ef_construction": int(hnsw.efConstruction),
            "ef": self.default,
            "bytes": self.codes.nbytes + 4 * int(hnsw.neighbors.size()) + 12 * len(self),
        }


def checked_links(number: int) -> int:
    """Return a parameter `M`. Raises BackendError for one that makes no graph."""
    if not 2 <= number <= _MOST_LINKS // 2:
        raise BackendError(f"M={number}: must be from 2 to {_MOST_LINKS // 2}")
    return number


def check_graph(index: Any) -> None:
    """Raise ValueError unless an `IndexBinaryHNSW` that was read is sound: FAISS follows its edges blindly.

    A node of level l has places for links on the levels 0 to l; every link leads to a node that is on its level, too.
    """
    hnsw, count = index.hnsw, int(index.ntotal)
    places = faiss.vector_to_array(hnsw.cum_nneighbor_per_level).astype(np.int64)  # up to each level
    levels = faiss.vector_to_array(hnsw.levels).astype(np.int64)  # of each node, from 1
    starts = faiss.vector_to_array(hnsw.offsets).astype(np.int64)  # of the places of each node
    links = _view(hnsw.neighbors)
    on_level = np.diff(places)
    if not (1 < len(places) <= 65 and places[0] == 0 and (on_level >= 1).all() and (on_level <= _MOST_LINKS).all()):
        raise ValueError("a graph with strange numbers of links")
    if hnsw.assign_probas.size() != len(on_level) or not 1 <= hnsw.efConstruction <= _MOST_EF:
        raise ValueError("a graph with strange parameters")
    if not 1 <= hnsw.efSearch <= max(_MOST_EF, count):
        raise ValueError(f"ef={hnsw.efSearch}")
    if len(levels) != count or (count and not 1 <= levels.min() <= levels.max() <= len(on_level)):
        raise ValueError("a graph with strange levels")
    if not np.array_equal(starts, np.concatenate([[0], np.cumsum(places[levels])])) or starts[-1] != len(links):
        raise ValueError("a graph whose links are not where they should be")
    top, entry = int(hnsw.max_level), int(hnsw.entry_point)
    if (entry, top) != (-1, -1) if not count else not (0 <= entry < count and 0 <= top == levels[entry] - 1):
        raise ValueError("a graph without an entry")
    if len(links) and not (-1 <= links.min() <= links.max() < count):
        raise ValueError("a link that leads nowhere")
    for level in range(1, len(on_level)):
        nodes = np.flatnonzero(levels > level)
        reached = links[starts[nodes, None] + np.arange(places[level], places[level + 1])]
        if (levels[reached[reached >= 0]] <= level).any():
            raise ValueError("a link that leaves its level")


def _view(vector: Any) -> NDArray[np.int32]:
    return faiss.rev_swig_ptr(vector.data(), vector.size()) if vector.size() else np.empty(0, np.int32)
