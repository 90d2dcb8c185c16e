"""Distinct codes and the rows that have them.

A graph of links between near codes breaks where many codes are equal: their links lead to each other, and parts of
the graph become unreachable. So the graph holds each code once, as a *node*, and a row is a reference to its node.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as serialize

from transhash.results import NO_DISTANCE, NO_ID, Nearest, Within

FILE = "nodes.safetensors"

_EXPANDED = 1 << 22  # rows sorted at a time

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Groups:
    """Rows ordered by their nodes.

    Attributes:
        rows: (m,) int64, by node, then ascending.
        starts: (nodes + 1,) int64; the rows of node `i` are at `starts[i]` to `starts[i + 1]`.
    """

    rows: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, nodes: NDArray[np.int64], count: int, allowed: Mask | None) -> "Groups":
        """Group the allowed rows whose nodes, below `count`, are `nodes` (n,)."""
        rows = np.arange(len(nodes)) if allowed is None else np.flatnonzero(allowed)
        sizes = np.bincount(nodes[rows], minlength=count)
        return cls(rows[np.argsort(nodes[rows], kind="stable")], np.concatenate([[0], np.cumsum(sizes)]))

    @property
    def present(self) -> Mask:
        """The nodes that have a row, (nodes,) bool."""
        return np.diff(self.starts) > 0

    def matches(self, found: Nearest, k: int) -> Nearest:
        """Replace nodes by their rows: the first `k` of each query by (distance, row).

        `found` holds nodes, ordered by distance. Ids are -1 where the nodes have fewer than `k` rows.
        """
        step = max(1, _EXPANDED // max(1, found.ids.shape[1] * k))
        parts = [
            self._matches(found.ids[start : start + step], found.distances[start : start + step], k)
            for start in range(0, len(found), step)
        ]
        if not parts:
            return Nearest(np.empty((0, k), np.int64), np.empty((0, k), np.int32))
        return Nearest(
            np.concatenate([part.ids for part in parts]), np.concatenate([part.distances for part in parts])
        )

    def _matches(self, nodes: NDArray[np.int64], distances: NDArray[np.int32], k: int) -> Nearest:
        queries = len(nodes)
        # At most k rows of a node can be among the first k, and none if k rows are nearer than the node.
        counts = np.where(nodes == NO_ID, 0, np.minimum(np.diff(self.starts)[nodes], k))
        reached = np.cumsum(counts, axis=1) >= k
        kth = np.where(reached.any(axis=1), distances[np.arange(queries), reached.argmax(axis=1)], NO_DISTANCE)
        counts[distances > kth[:, None]] = 0
        each, total = counts.ravel(), int(counts.sum())
        ranks = np.arange(total) - np.repeat(np.cumsum(each) - each, each)  # position of each row in its node
        rows = self.rows[np.repeat(self.starts[nodes].ravel(), each) + ranks]
        owners = np.repeat(np.arange(queries), counts.sum(axis=1))
        ranked = Within.sort(queries, owners, rows, np.repeat(distances.ravel(), each))
        places = np.arange(total) - ranked.offsets[owners]
        first = places < k
        out = Nearest(np.full((queries, k), NO_ID, np.int64), np.full((queries, k), NO_DISTANCE, np.int32))
        out.ids[owners[first], places[first]] = ranked.ids[first]
        out.distances[owners[first], places[first]] = ranked.distances[first]
        return out


class DistinctCodes:
    """The nodes of rows: which codes are new, and which node each row has.

    Attributes:
        count: number of nodes.
        nodes: (n,) int64, the node of each row; None as long as row i has node i.
    """

    def __init__(
        self, codes: NDArray[np.uint8], nodes: NDArray[np.int64] | None = None, distinct: bool | None = None
    ) -> None:
        """Take the nodes' codes (count, bits/8) and the nodes of the rows.

        `codes` must not change until `add` has been called. Set `distinct` if they are known to be distinct, which
        saves sorting them.
        """
        self.count = len(codes)
        self.nodes = nodes
        self._codes: NDArray[np.uint8] | None = codes  # until they are sorted
        self._distinct = distinct
        self._known: NDArray[np.bytes_] = np.empty(0, "S1")  # ascending codes
        self._node_of: NDArray[np.int64] = np.empty(0, np.int64)  # the node of each code

    def _sort(self) -> None:
        if self._codes is not None:
            self._known, self._node_of = np.unique(_keys(self._codes), return_index=True)
            self._codes = None

    def __len__(self) -> int:
        """Return the number of distinct codes."""
        if self._distinct:
            return self.count
        self._sort()
        return len(self._known)

    @property
    def has_equal_nodes(self) -> bool:
        """Whether two nodes have the same code, as in graphs built by FAISS or an older version."""
        if self._distinct is None:
            self._distinct = len(self) == self.count
        return not self._distinct

    def add(self, codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Append rows with codes (m, bits/8); return the new codes among them, which become the next nodes."""
        self._sort()
        keys, first, inverse = np.unique(_keys(codes), return_index=True, return_inverse=True)
        places = np.searchsorted(self._known, keys)
        known = np.zeros(len(keys), np.bool_)
        inside = places < len(self._known)
        known[inside] = self._known[places[inside]] == keys[inside]
        nodes = np.empty(len(keys), np.int64)
        nodes[known] = self._node_of[places[known]]
        new = np.sort(first[~known])
        nodes[~known] = self.count + np.searchsorted(new, first[~known])
        if self.nodes is not None or len(new) < len(codes):
            before = np.arange(self.count) if self.nodes is None else self.nodes
            self.nodes = np.concatenate([before, nodes[inverse]])
        self._node_of = np.insert(self._node_of, places[~known], nodes[~known])
        self._known = np.insert(self._known, places[~known], keys[~known])
        self.count += len(new)
        return codes[new]

    def save(self, folder: Path) -> None:
        """Write the nodes of the rows; no values if row i has node i."""
        nodes = np.empty(0, np.int64) if self.nodes is None else self.nodes
        (folder / FILE).write_bytes(serialize({"nodes": nodes}))


def read_nodes(folder: Path, count: int) -> NDArray[np.int64] | None:
    """Read what `DistinctCodes.save` wrote for `count` nodes. Raises ValueError if it is damaged."""
    try:
        arrays: dict[str, NDArray[Any]] = load_file(folder / FILE)
    except SafetensorError as error:
        raise ValueError(f"{FILE}: {error}") from None
    nodes = arrays.get("nodes")
    if arrays.keys() != {"nodes"} or nodes is None or nodes.dtype != np.int64 or nodes.ndim != 1:
        raise ValueError(f"{FILE} does not hold the nodes of rows")
    if not len(nodes):
        return None
    if nodes.min() < 0 or nodes.max() >= count or len(np.unique(nodes)) < count:
        raise ValueError(f"{FILE}: a row without a node, or a node without a row")
    return nodes


def _keys(codes: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """View codes (n, bits/8) as (n,) byte strings, which sort in the same order as the codes."""
    return np.ascontiguousarray(codes).view(f"S{codes.shape[1]}")[:, 0]
