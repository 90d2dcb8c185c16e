"""A stored index with changes that are not in it yet: rows that were removed, and others that were added.

Added codes are all compared with a query. Removed rows are dropped from the answers of the stored index.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from .. import hamming
from ..backends import Backend, SearchParameter
from ..errors import BackendError
from ..results import NO_DISTANCE, NO_ID, Nearest, Within
from . import scanning
from .survivors import Survivors

Mask = NDArray[np.bool_]

_SPARE = 32  # matches fetched besides k, among which removed rows may be


class Patched:
    """The rows of a stored index that are left, then added ones, as a `Backend`.

    Before it is changed or saved, the changes are made to the stored index itself.
    """

    types: ClassVar[tuple[str, ...]] = ()
    reason = ""

    def __init__(self, stored: Backend, left: Survivors, added: NDArray[np.uint8]) -> None:
        """Take the stored index, which of its rows are left, and the codes (m, bits/8) of the added ones."""
        self._stored = stored
        self._left = left
        self._added = added
        self.bits = stored.bits

    @classmethod
    def build(cls, codes: NDArray[np.uint8], *, type: str | None = None, params: Any = None) -> Self:
        """Raise BackendError: this is not an index of its own."""
        raise BackendError("changes of an index are not an index of their own")

    @classmethod
    def load(cls, folder: Path, mmap: bool = False) -> Self:
        """Raise BackendError: `LocalIndex.open` puts the parts together."""
        raise BackendError("changes of an index are not an index of their own")

    def __len__(self) -> int:
        """Return the number of codes."""
        return len(self._left) + len(self._added)

    def search(
        self,
        queries: NDArray[np.uint8],
        k: int,
        params: Mapping[str, int] | None = None,
        allowed: Mask | None = None,
    ) -> Nearest:
        """Return the min(k, n) nearest codes of each query among those `allowed`, ordered by (distance, id)."""
        split = len(self._left)
        stored = self._nearest(queries, k, params, None if allowed is None else allowed[:split])
        added = hamming.top_k(queries, self._added, k, None if allowed is None else allowed[split:])
        return scanning.merged(stored, Nearest(added.ids + split, added.distances), k)

    def _nearest(
        self, queries: NDArray[np.uint8], k: int, params: Mapping[str, int] | None, allowed: Mask | None
    ) -> Nearest:
        """Search the stored rows that are left."""
        removed = len(self._left.removed)
        if allowed is not None or not removed:
            found = self._stored.search(queries, k, params, self._mask(allowed))
            return Nearest(self._rows(found.ids), found.distances)
        wanted = min(k, len(self._left))
        found = self._stored.search(queries, k + min(removed, _SPARE), params)
        gone = self._left.gone(found.ids)
        found.distances[gone] = NO_DISTANCE
        found.ids[gone] = NO_ID
        order = np.argsort(found.ids == NO_ID, axis=1, kind="stable")[:, :wanted]
        ids = np.take_along_axis(found.ids, order, 1)
        distances = np.take_along_axis(found.distances, order, 1)
        short = np.flatnonzero((ids == NO_ID).any(axis=1))
        if len(short):
            more = self._stored.search(queries[short], wanted, params, self._mask(np.ones(len(self._left), np.bool_)))
            ids[short], distances[short] = more.ids, more.distances
        return Nearest(self._rows(ids), distances)

    def range_search(
        self,
        queries: NDArray[np.uint8],
        radius: int,
        params: Mapping[str, int] | None = None,
        allowed: Mask | None = None,
    ) -> Within:
        """Return every `allowed` code at distance <= radius of each query, ordered by (distance, id)."""
        split = len(self._left)
        stored = self._stored.range_search(
            queries, radius, params, None if allowed is None else self._mask(allowed[:split])
        )
        added = hamming.within(queries, self._added, radius, None if allowed is None else allowed[split:])
        stays = ~self._left.gone(stored.ids)
        owners = [np.repeat(np.arange(len(queries)), np.diff(part.offsets)) for part in (stored, added)]
        return Within.sort(
            len(queries),
            np.concatenate([owners[0][stays], owners[1]]),
            np.concatenate([self._left.rows(stored.ids[stays]), added.ids + split]),
            np.concatenate([stored.distances[stays], added.distances]),
        )

    def reconstruct(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return a copy of the codes with ids `start` to `stop`, (stop - start, bits/8) uint8."""
        split = len(self._left)
        inside = self._left.span(start, min(stop, split))
        added = self._added[max(start - split, 0) : max(stop - split, 0)]
        if inside.start == inside.stop:
            return added.copy()
        return np.concatenate([self._stored.reconstruct(inside.start, inside.stop)[self._left.mask(inside)], added])

    def add(self, codes: NDArray[np.uint8]) -> None:
        """Append codes (n, bits/8) uint8."""
        self._apply()
        self._stored.add(codes)
        self._left = Survivors(len(self._stored), self._left.removed)

    def remove(self, keep: Mask) -> None:
        """Remove the codes where `keep` (n,) is false; the others are renumbered from 0, in order."""
        self._apply()
        self._stored.remove(keep)
        self._left = Survivors(len(self._stored), self._left.removed)

    def save(self, folder: Path) -> None:
        """Write the index, with its changes, into `folder`."""
        self._apply()
        self._stored.save(folder)

    def search_parameter(self) -> SearchParameter | None:
        """Return the search parameter that trades time for recall; None if every search is exact."""
        return self._stored.search_parameter()

    def tune(self, value: int) -> None:
        """Set the default value of the search parameter."""
        self._stored.tune(value)

    def info(self) -> dict[str, int | str]:
        """Describe the stored index, without the changes."""
        return self._stored.info()

    def inverted_lists(self) -> tuple[NDArray[np.uint8], NDArray[np.int32]] | None:
        """Return the centroids and the list of each code, if the stored index has lists."""
        lists: Any = getattr(self._stored, "inverted_lists", lambda: None)()
        if lists is None:
            return None
        centroids, stored = lists
        added = hamming.top_k(self._added, centroids, 1).ids[:, 0] if len(self._added) else np.empty(0, np.int64)
        kept = np.delete(stored, self._left.removed)
        return centroids, np.concatenate([kept, added.astype(np.int32)])

    def _apply(self) -> None:
        """Make the changes to the stored index. Raises BackendError if it is mapped."""
        if len(self._left.removed):
            self._stored.remove(self._left.mask(slice(0, self._left.count)))
        if len(self._added):
            self._stored.add(np.ascontiguousarray(self._added))
        self._left = Survivors(len(self._stored), np.empty(0, np.int64))
        self._added = self._added[:0]

    def _rows(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(places == NO_ID, NO_ID, self._left.rows(places))

    def _mask(self, allowed: Mask | None) -> Mask | None:
        """Return the stored places whose rows are allowed."""
        if allowed is None or not len(self._left.removed):
            return allowed
        mask = self._left.mask(slice(0, self._left.count))
        mask[mask] = allowed
        return mask
