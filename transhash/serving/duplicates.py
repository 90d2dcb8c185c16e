"""Near-duplicates of the served indexes: found in the background, remembered, and told page by page."""

import threading
from collections import OrderedDict
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

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
    """What `transhash.dedup` looks for and keeps: see there. `radius` is None for that of the model."""

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
    """

    def __init__(self, snapshot: Snapshot, folder: ImageFolder) -> None:
        """Describe a search that has not begun."""
        self.snapshot = snapshot
        self.folder = folder
        self.done = 0
        self.total = 0
        self.found: Future[Duplicates] = Future()

    @property
    def ids(self) -> RowIds:
        """The ids of the positions in `found`."""
        return self.snapshot.local.ids


class DuplicateSearches:
    """Runs one search at a time, and remembers the last ones."""

    def __init__(self) -> None:
        """Start without any."""
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="transhash-duplicates")
        self._lock = threading.Lock()
        self._searches: OrderedDict[Any, DuplicateSearch] = OrderedDict()
        self._stopping = False

    def of(self, served: ServedIndex, rules: Rules) -> DuplicateSearch:
        """Return the search of an index, and start it if it was not asked for before.

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
            if known and not (known.found.done() and (known.found.cancelled() or known.found.exception())):
                self._searches.move_to_end(key)
                return known
            self._forget(served.name, snapshot.generation)
            search = DuplicateSearch(snapshot, folder)
            self._searches[key] = search
            search.found = self._pool.submit(self._run, search, replace(rules, radius=radius))
        return search

    def forget(self, name: str) -> None:
        """Forget the searches of an index, whose files have changed."""
        with self._lock:
            for key in [key for key in self._searches if key[0] == name]:
                self._drop(key)

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
        if search.folder.root is not None:
            codes = replace(codes, records=replace(codes.records, root=search.folder.root))
        return dedup(
            codes,
            rules.radius,
            keep=rules.keep,
            prefer=rules.prefer,
            reference=rules.reference,
            on_rows=advance,
        )


def spare_ids(search: DuplicateSearch, found: Duplicates) -> list[int]:
    """Return the ids of all images that are not needed."""
    rows = [
        row
        for cluster in found
        for row, role in zip(cluster.ids.tolist(), cluster.roles, strict=True)
        if role == "spare"
    ]
    return search.ids.of(np.array(rows, np.int64)).tolist()
