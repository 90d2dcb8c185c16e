"""NumKong's packed kernels over the codes: all Hamming distances, of which numpy selects the nearest."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..collection import Codes, Collection
from .base import Ids, Method

_BLOCK = 16_384  # codes: their distances to a batch stay in a near cache, which is faster than all at once


class Exact(Method):
    """Comparison with all codes, packed block by block."""

    name = "NumKong exact"
    family = "peer"
    package = "numkong"

    def build(self, collection: Collection) -> dict[str, Any]:
        """Pack all codes."""
        self._pack(collection.codes)
        return {"block": _BLOCK}

    def save(self, folder: Path) -> None:
        """Write the codes: packed ones cannot be written."""
        np.save(folder / "codes.npy", self._codes)

    def load(self, folder: Path) -> None:
        """Read the codes, and pack them again."""
        self._pack(np.load(folder / "codes.npy", mmap_mode="r"))

    def search(self, queries: NDArray[Any], k: int, value: int) -> Ids:
        """Compare the queries with all codes."""

        def nearest(place: int) -> tuple[NDArray[np.uint32], Ids]:
            distances = distances_to(queries, self._blocks[place])
            ids = np.argpartition(distances, min(k, distances.shape[1]) - 1, axis=1)[:, :k]
            return np.take_along_axis(distances, ids, 1), ids + place * _BLOCK

        with ThreadPoolExecutor(self.threads) as pool:
            parts = list(pool.map(nearest, range(len(self._blocks))))
        distances, ids = (np.concatenate(side, axis=1) for side in zip(*parts, strict=True))
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        found = np.full((len(queries), k), -1, np.int64)
        found[:, : order.shape[1]] = np.take_along_axis(ids, order, 1)
        return found

    def _pack(self, codes: Codes) -> None:
        self._codes = codes
        self._blocks = packed(codes)

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Estimate the memory of the packed codes, which are padded to 1,024 bits."""
        return count * 132


def packed(codes: Codes) -> list[Any]:
    """Pack codes (n, bits/8), block by block, for `distances_to`."""
    import numkong

    return [
        numkong.hammings_pack(np.ascontiguousarray(codes[start : start + _BLOCK]))
        for start in range(0, len(codes), _BLOCK)
    ]


def distances_to(queries: NDArray[np.uint8], block: Any) -> NDArray[np.uint32]:
    """Return the distances (q, n) of queries (q, bits/8) to a packed block of n codes."""
    import numkong

    distances: NDArray[np.uint32] = np.asarray(numkong.hammings_packed(np.ascontiguousarray(queries), block))
    return distances


METHODS = (Exact,)
