"""Type hnsw: a graph whose links lead from code to code towards the query."""

from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from transhash import hamming
from transhash.backends import CodeRows, SearchParameter
from transhash.errors import BackendError
from transhash.results import NO_ID, Nearest, Within

from . import library as faiss
from .distinct import FILE as NODES_FILE
from .distinct import DistinctCodes, Groups, read_nodes
from .kind import SPARE, Kind, Mask, ordered, stored_codes
from .layout import HNSW

_EF = 64
_LEAST_EF = 16  # FAISS's default; a search for k keeps k + SPARE candidates anyway
_EF_CONSTRUCTION = 100
_M = 16
_MOST_LINKS = 256  # links per node and level: more only take memory
_MOST_EF = 1 << 20


class Hnsw(Kind):
    """`faiss.IndexBinaryHNSW` over the distinct codes.

    A graph with equal codes can only come from a file of FAISS or an older version. It misses codes, so searches
    compare all codes instead until codes are added, which rebuilds the graph.
    """

    name = "hnsw"
    magic = HNSW
    build_params = ("M", "ef_construction", "ef")

    def __init__(self, index: Any) -> None:
        """Wrap FAISS's index, in which row i is node i."""
        super().__init__(index)
        self._distinct = DistinctCodes(stored_codes(self._storage))
        self._forget()

    def _forget(self) -> None:
        """Drop cached data that adding codes invalidates."""
        self._codes: NDArray[np.uint8] | None = None
        self._groups: Groups | None = None

    @classmethod
    def train(cls, codes: CodeRows, params: dict[str, int]) -> Self:
        """Return an empty graph with `M` links per node and level, and twice as many on the lowest level."""
        return cls(_graph(codes.shape[1] * 8, params.get("M", _M), params))

    @classmethod
    def read(cls, file: BinaryIO, folder: Path) -> Self:
        """Read the graph, and the nodes of the rows if they were saved."""
        kind = super().read(file, folder)
        if (folder / NODES_FILE).exists():
            nodes = read_nodes(folder, kind._distinct.count)
            kind._distinct = DistinctCodes(stored_codes(kind._storage), nodes, distinct=True)
        return kind

    def save(self, folder: Path) -> None:
        """Write FAISS's file, and the nodes of the rows unless nodes are equal."""
        super().save(folder)
        if not self._distinct.has_equal_nodes:
            self._distinct.save(folder)

    def check(self) -> None:
        """Raise ValueError unless every link leads to a node."""
        check_graph(self.index)

    def __len__(self) -> int:
        """Return the number of codes."""
        nodes = self._distinct.nodes
        return self._distinct.count if nodes is None else len(nodes)

    @property
    def search_parameter(self) -> SearchParameter:
        """Number of candidates that a search keeps."""
        count = self._distinct.count
        return SearchParameter("ef", min(_LEAST_EF, count), count)

    @property
    def default(self) -> int:
        """The `ef` of searches that do not set it."""
        return int(self.index.hnsw.efSearch)

    def tune(self, value: int) -> None:
        """Set the default `ef`."""
        self.index.hnsw.efSearch = value

    @property
    def codes(self) -> NDArray[np.uint8]:
        """The codes of the rows (n, bits/8) uint8."""
        if self._codes is None:
            stored, nodes = stored_codes(self._storage), self._distinct.nodes
            self._codes = stored if nodes is None else stored[nodes]
        return self._codes

    @property
    def _storage(self) -> Any:
        return faiss.downcast_IndexBinary(self.index.storage)

    def add(self, codes: NDArray[np.uint8]) -> None:
        """Append codes (n, bits/8) uint8; codes already present do not get a new node."""
        if self._distinct.has_equal_nodes:
            self._rebuild()
        self._forget()
        new = self._distinct.add(codes)
        if len(new):
            self.index.add(new)

    def _rebuild(self) -> None:
        """Build the graph again, without equal nodes."""
        codes, old = np.array(self.codes), self.index.hnsw
        params = {"ef_construction": int(old.efConstruction), "ef": int(old.efSearch)}
        self.index = _graph(self.bits, _links(self.index), params)
        self._distinct = DistinctCodes(codes[:0])
        self.index.add(self._distinct.add(codes))

    def reconstruct(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return a copy of the codes with ids `start` to `stop`."""
        return np.array(self.codes[start:stop])

    def search(self, queries: NDArray[np.uint8], k: int, value: int, allowed: Mask | None) -> Nearest:
        """Return `k` near codes of each query among those allowed, ordered by (distance, id).

        All codes are compared if `value` is at least their number, or if the graph leads to fewer than `k` allowed
        codes.
        """
        if value >= self._distinct.count or self._distinct.has_equal_nodes:
            return hamming.top_k(queries, self.codes, k, allowed)
        nodes = self._distinct.nodes
        groups, present = None, allowed
        if nodes is not None:
            groups = self._grouped(nodes, allowed)
            present = None if allowed is None else groups.present
        wanted = min(k, self._distinct.count if present is None else int(present.sum()))
        found = self._walk(queries, wanted, value, present)
        short = np.flatnonzero(found.ids[:, wanted - 1] == NO_ID)
        if groups is None:
            found = Nearest(np.ascontiguousarray(found.ids[:, :k]), np.ascontiguousarray(found.distances[:, :k]))
        else:
            found = groups.matches(found, k)
        if len(short):
            exact = hamming.top_k(queries[short], self.codes, k, allowed)
            found.ids[short], found.distances[short] = exact.ids, exact.distances
        return found

    def _walk(self, queries: NDArray[np.uint8], k: int, ef: int, present: Mask | None) -> Nearest:
        """Return at least `k` near nodes of each query among those `present`, ordered by (distance, node)."""
        places = min(k + SPARE, self._distinct.count)
        params = faiss.SearchParametersHNSW(efSearch=max(ef, places))
        if present is not None:
            params.sel = faiss.IDSelectorBitmap(np.packbits(present, bitorder="little"))
        return Nearest(*ordered(*self.index.search(queries, places, params=params)))

    def _grouped(self, nodes: NDArray[np.int64], allowed: Mask | None) -> Groups:
        """Return the allowed rows by their nodes."""
        if allowed is not None:
            return Groups.of(nodes, self._distinct.count, allowed)
        if self._groups is None:
            self._groups = Groups.of(nodes, self._distinct.count, None)
        return self._groups

    def range_search(
        self, queries: NDArray[np.uint8], radius: int, value: int | None, allowed: Mask | None
    ) -> Within:
        """Return every allowed code at distance <= radius of each query.

        All codes are compared, since the graph leads only to the nearest.
        """
        return hamming.within(queries, self.codes, radius, allowed)

    def details(self) -> dict[str, int | str]:
        """Return the parameters, the number of distinct codes, and the size."""
        hnsw, count, nodes = self.index.hnsw, self._distinct.count, self._distinct.nodes
        return {
            "M": _links(self.index),
            "ef_construction": int(hnsw.efConstruction),
            "ef": self.default,
            "distinct": len(self._distinct),
            "bytes": count * (self.bits // 8 + 12)
            + 4 * int(hnsw.neighbors.size())
            + (0 if nodes is None else nodes.nbytes),
        }


def _graph(bits: int, links: int, params: dict[str, int]) -> Any:
    """Return an empty graph of FAISS. Raises BackendError for parameters out of range."""
    index = faiss.IndexBinaryHNSW(bits, checked_links(links))
    index.hnsw.efConstruction = params.get("ef_construction", _EF_CONSTRUCTION)
    index.hnsw.efSearch = params.get("ef", _EF)
    if max(index.hnsw.efConstruction, index.hnsw.efSearch) > _MOST_EF:
        raise BackendError(f"ef and ef_construction: must be at most {_MOST_EF}")
    return index


def _links(index: Any) -> int:
    """Return the parameter `M` of a graph."""
    return int(index.hnsw.nb_neighbors(0)) // 2


def checked_links(number: int) -> int:
    """Return `number` if it can be the parameter `M`. Raises BackendError if not."""
    if not 2 <= number <= _MOST_LINKS // 2:
        raise BackendError(f"M={number}: must be from 2 to {_MOST_LINKS // 2}")
    return number


def check_graph(index: Any) -> None:
    """Raise ValueError unless an `IndexBinaryHNSW` read from a file is sound: FAISS does not check links.

    A node of level l has slots for links on levels 0 to l; every link must lead to a node on the same level.
    """
    hnsw, count = index.hnsw, int(index.ntotal)
    # The number of links of a node below each level.
    places = faiss.vector_to_array(hnsw.cum_nneighbor_per_level).astype(np.int64)
    levels = faiss.vector_to_array(hnsw.levels).astype(np.int64)  # of each node, from 1
    starts = faiss.vector_to_array(hnsw.offsets).astype(np.int64)  # of the places of each node
    links = _view(hnsw.neighbors)
    on_level = np.diff(places)
    if not (1 < len(places) <= 65 and places[0] == 0 and (on_level >= 1).all() and (on_level <= _MOST_LINKS).all()):
        raise ValueError("numbers of links out of range")
    if hnsw.assign_probas.size() != len(on_level) or not 1 <= hnsw.efConstruction <= _MOST_EF:
        raise ValueError("parameters of the graph out of range")
    if not 1 <= hnsw.efSearch <= max(_MOST_EF, count):
        raise ValueError(f"ef={hnsw.efSearch}")
    if len(levels) != count or (count and not 1 <= levels.min() <= levels.max() <= len(on_level)):
        raise ValueError("levels of nodes out of range")
    if not np.array_equal(starts, np.concatenate([[0], np.cumsum(places[levels])])) or starts[-1] != len(links):
        raise ValueError("positions of links do not follow from the levels")
    top, entry = int(hnsw.max_level), int(hnsw.entry_point)
    if (entry, top) != (-1, -1) if not count else not (0 <= entry < count and 0 <= top == levels[entry] - 1):
        raise ValueError("the entry point of the graph is not a node of its highest level")
    if len(links) and not (-1 <= links.min() <= links.max() < count):
        raise ValueError("a link does not lead to a node")
    for level in range(1, len(on_level)):
        nodes = np.flatnonzero(levels > level)
        reached = links[starts[nodes, None] + np.arange(places[level], places[level + 1])]
        if (levels[reached[reached >= 0]] <= level).any():
            raise ValueError("a link leaves its level")


def _view(vector: Any) -> NDArray[np.int32]:
    return faiss.rev_swig_ptr(vector.data(), vector.size()) if vector.size() else np.empty(0, np.int32)
