"""An index divided among several devices: each searches its part of the codes, and the host merges the results."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..results import NO_ID, Nearest, Within
from . import device as devices
from .flat import DeviceCodes
from .lists import DeviceLists

Mask = NDArray[np.bool_]


class MultiDeviceIndex:
    """`DeviceCodes`, or `DeviceLists` with the same centroids, of consecutive positions, searched as one index."""

    def __init__(self, parts: Sequence[DeviceCodes | DeviceLists]) -> None:
        """Take the parts, in order of position."""
        self._parts = parts
        self._ends = np.cumsum([len(part) for part in parts])

    def top_k(
        self, queries: NDArray[np.uint8], k: int, nprobe: Sequence[int] = (), allowed: Mask | None = None
    ) -> Nearest:
        """Return the min(k, n) nearest codes of each query; `nprobe` holds the argument of `DeviceLists`, if any."""
        results = self._each(lambda part, mask: part.top_k(queries, k, *nprobe, allowed=mask), allowed)
        if len(results) == 1:
            return results[0][1]
        ids = np.hstack([np.where(part.ids == NO_ID, NO_ID, part.ids + start) for start, part in results])
        distances = np.hstack([part.distances for _, part in results])
        order = np.lexsort((ids, distances), axis=1)[:, :k]
        return Nearest(np.take_along_axis(ids, order, axis=1), np.take_along_axis(distances, order, axis=1))

    def within(
        self, queries: NDArray[np.uint8], radius: int, nprobe: Sequence[int] = (), allowed: Mask | None = None
    ) -> Within:
        """Return every code at distance <= radius of each query; other arguments as for `top_k`."""
        results = self._each(lambda part, mask: part.within(queries, radius, *nprobe, allowed=mask), allowed)
        owners = [np.repeat(np.arange(len(queries)), np.diff(part.offsets)) for _, part in results]
        ids = [part.ids + start for start, part in results]
        distances = [part.distances for _, part in results]
        return Within.sort(len(queries), *map(np.concatenate, (owners, ids, distances)))

    def _each(self, search: Callable[[Any, Mask | None], Any], allowed: Mask | None) -> list[tuple[int, Any]]:
        """Search all parts in parallel; return the first position of each part with its result."""

        def one(part: DeviceCodes | DeviceLists, end: int) -> tuple[int, Any]:
            start = end - len(part)
            return start, search(part, None if allowed is None else allowed[start:end])

        with devices.threads(len(self._parts)) as pool:
            return list(pool.map(one, self._parts, self._ends.tolist()))
