"""Near-duplicates of the served indexes: found in the background, cached, and returned page by page."""

import threading
from collections import OrderedDict
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codes import Records
from ..duplicates import KEEP, Duplicates, dedup, default_radius
from ..index.ids import RowIds
from .batching import BusyError
from .files import ImageFolder
from .queries import MAX_RADIUS, QueryError
from .served import ServedIndex
from .snapshot import Snapshot

__all__ = ["KEEP", "DuplicateSearch", "DuplicateSearches", "Rules"]

_REMEMBERED = 4


@dataclass(frozen=True)
class Rules:
    """The arguments of `transhash.dedup`; `radius` is None for the default of the model."""

    radius: int | None = None
    keep: str = KEEP[0]
    prefer: tuple[Path, ...] = ()
    reference: tuple[Path, ...] = ()


class DuplicateSearch:
    """One search for duplicates, running or done.

    Attributes:
        snapshot: the index that is searched.
        folder: the folder of its images.
        done: codes compared so far.
        total: codes to compare; 0 before that is known.
        found: the clusters, whose ids are positions: see `ids`.
        stale: whether files have been moved since, so that roles and sizes may be out of date.
    """

    def __init__(self, snapshot: Snapshot, folder: ImageFolder) -> None:
        """Describe a search that has not begun."""
        self.snapshot = snapshot
        self.folder = folder
        self.done = 0
        self.total = 0
        self.found: Future[Duplicates] = Future()
        self.stale = False

    @property
    def ids(self) -> RowIds:
        """The ids of the positions in `found`."""
        return self.snapshot.local.ids

    def clusters_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Wait for the search; return the position of the cluster of each row (m,), (m,) int64, or -1."""
        members, numbers = self._members
        places = np.minimum(np.searchsorted(members, rows), max(0, len(members) - 1))
        if not len(members):
            return np.full(len(rows), -1, np.int64)
        return np.where(members[places] == rows, numbers[places], -1)

    @cached_property
    def _members(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows that are in clusters, ascending, and the position of the cluster of each."""
        found = self.found.result()
        rows = np.concatenate([np.empty(0, np.int64), *(cluster.ids for cluster in found)])
        numbers = np.repeat(np.arange(len(found)), np.array([len(cluster) for cluster in found], np.int64))
        order = np.argsort(rows)
        return rows[order], numbers[order]

    def rooted(self, records: Records) -> Records:
        """Return records whose paths lead into the image folder that is served."""
        return records if self.folder.root is None else replace(records, root=self.folder.root)


class DuplicateSearches:
    """Runs one search at a time, and keeps the latest ones."""

    def __init__(self) -> None:
        """Start without searches."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="transhash-duplicates")
        self._lock = threading.Lock()
        self._searches: OrderedDict[Any, DuplicateSearch] = OrderedDict()
        self._stopping = False

    def of(self, served: ServedIndex, rules: Rules, stale: bool = False) -> DuplicateSearch:
        """Return the search of an index; start it if there is none, or if it is stale and `stale` is false.

        Raises QueryError for a bad radius, BackendError for an index on a server, BusyError if others are waiting.
        """
        snapshot, folder = served.state
        radius = default_radius(snapshot.model, len(snapshot)) if rules.radius is None else rules.radius
        if not 0 <= radius <= MAX_RADIUS:
            raise QueryError(f"radius={radius}: must be from 0 to {MAX_RADIUS}")
        snapshot.local  # noqa: B018 - raises for a server
        key = served.name, snapshot.generation, replace(rules, radius=radius)
        with self._lock:
            known = self._searches.get(key)
            if known and _is_good(known, stale):
                self._searches.move_to_end(key)
                return known
            self._searches.pop(key, None)
            self._forget(served.name, snapshot.generation)
            search = DuplicateSearch(snapshot, folder)
            self._searches[key] = search
            search.found = self._pool.submit(self._run, search, replace(rules, radius=radius))
        return search

    def forget(self, name: str) -> None:
        """Mark the searches of an index as stale, because its files have changed: the next request repeats them.

        A review in progress continues with the earlier clusters.
        """
        with self._lock:
            for key, search in self._searches.items():
                search.stale = search.stale or (key[0] == name and search.found.done())

    def close(self) -> None:
        """Stop what is running."""
        self._stopping = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _forget(self, name: str, generation: str) -> None:
        """Make room: for searches of an earlier state of the index, and for the oldest."""
        for key in [key for key in self._searches if key[0] == name and key[1] != generation]:
            self._drop(key)
        for key in list(self._searches):
            if len(self._searches) < _REMEMBERED:
                return
            self._drop(key)
        if len(self._searches) >= _REMEMBERED:
            raise BusyError("other searches for duplicates are waiting; try again later")

    def _drop(self, key: Any) -> None:
        found = self._searches[key].found
        if found.done() or found.cancel():
            del self._searches[key]

    def _run(self, search: DuplicateSearch, rules: Rules) -> Duplicates:
        def advance(done: int, total: int) -> None:
            if self._stopping:
                raise CancelledError
            search.done, search.total = done, total

        codes = search.snapshot.local.codes()
        codes = replace(codes, records=search.rooted(codes.records))
        return dedup(
            codes,
            rules.radius,
            keep=rules.keep,
            prefer=rules.prefer,
            reference=rules.reference,
            on_rows=advance,
        )


def _is_good(search: DuplicateSearch, stale: bool) -> bool:
    """Return whether a search can be used: it has not failed, and is not stale unless `stale` is true."""
    if search.found.done() and (search.found.cancelled() or search.found.exception()):
        return False
    return stale or not search.stale


def spare_ids(search: DuplicateSearch, found: Duplicates) -> list[int]:
    """Return the ids of all spare images."""
    rows = [
        row
        for cluster in found
        for row, role in zip(cluster.ids.tolist(), cluster.roles, strict=True)
        if role == "spare"
    ]
    return search.ids.of(np.array(rows, np.int64)).tolist()
