"""One state of an index: opened, verified, and never changed while it is being searched."""

import os
import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..codes import NO_LABEL, Records, StringTable
from ..codes.records import label_columns
from ..errors import BackendError
from ..hashers import rarity_of
from ..index import filters
from ..index.contract import Collection
from ..index.filters import Filter, Mask
from ..index.index import Index
from ..index.local import LocalIndex
from ..index.verdicts import Verdicts
from ..results import Nearest
from ..system.files import display
from .words import distance_words

_PATHS = 1 << 30  # bytes of paths that are kept in memory
_MASKS = 8  # filters whose rows are remembered
_STRETCHES, _STRETCH = 64, 64  # number of codes from which the distances of unrelated images are estimated


@dataclass(frozen=True, slots=True)
class Shown:
    """An image of an index: its path, relative to the index's image folder if it has one, and its labels."""

    path: bytes
    labels: tuple[str, ...]


def _with_paths_in_memory(records: Records) -> Records:
    """Return records with their paths in memory if they fit: reading one from a file takes 100 µs."""
    paths = records.paths
    if not isinstance(paths, StringTable) or paths.nbytes > _PATHS:
        return records
    return replace(records, paths=paths.take(slice(None)))


class Snapshot:
    """An index as it was opened.

    Attributes:
        collection: the index.
        generation: the name of this state; the index on disk has another one after every change.
        model: the model that made the codes.
        type: the index type.
    """

    def __init__(self, collection: Collection, generation: str) -> None:
        """Open the files of an index folder completely; raises what `Index.local` raises."""
        self.collection = collection
        self.generation = generation
        self.model = collection.model
        self._local = collection.local if isinstance(collection, Index) else None
        if self._local is not None:
            self._local.records = _with_paths_in_memory(self._local.records)
        self._count = len(collection)
        info = self._local.backend.info() if self._local is not None else collection.info()
        self.type = str(info.get("type", ""))
        self._masks: OrderedDict[Filter, Mask | None] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Return the number of images."""
        return self._count

    @property
    def is_local(self) -> bool:
        """Whether the index is in a folder, so that codes and all paths are available."""
        return self._local is not None

    @property
    def local(self) -> LocalIndex:
        """The index in this process. Raises BackendError if it is on a server."""
        if self._local is None:
            raise BackendError(f"{display(self.collection.location)}: on a server; only an index folder can do that")
        return self._local

    def mask(self, where: Filter | None) -> Mask | None:
        """Return the rows that pass a filter, (n,) bool; None without a filter. Raises SelectionError."""
        if where is None:
            return None
        with self._lock:
            if where in self._masks:
                self._masks.move_to_end(where)
                return self._masks[where]
        found = filters.mask(self.local, where)
        with self._lock:
            self._masks[where] = found
            if len(self._masks) > _MASKS:
                self._masks.popitem(last=False)
        return found

    def nearest(self, packed: NDArray[np.uint8], k: int, where: Filter | None) -> Nearest:
        """Return the ids of the nearest rows of packed queries (q, bits/8)."""
        if self._local is not None:
            return self._local.search(packed, k, {}, self.mask(where))
        distances, ids = self.collection.kneighbors(packed, k, where=where)
        return Nearest(ids, distances)

    def codes(self, ids: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the codes of images, (m, bits/8) uint8, in the order of their ids.

        Raises SelectionError if an id is not in the index; BackendError if it does not keep its codes.
        """
        return self.local.packed(ids)

    def shown(self, ids: NDArray[np.int64]) -> list[Shown]:
        """Return paths and labels of images. Raises SelectionError if an id is not in the index."""
        if self._local is None:
            return [Shown(os.fsencode(row.path), row.labels) for row in self.collection.rows(ids)]
        rows, records = self._local.ids.rows(ids), self._local.records
        paths = records.paths_of(rows)
        return [Shown(path, labels) for path, labels in zip(paths, records.labels_of(rows), strict=True)]

    def id_of(self, path: str) -> int:
        """Return the id of the image with a path, the first if there are several. Raises SelectionError."""
        rows = np.flatnonzero(filters.paths(self.local, [path]))
        return int(self.local.ids.of(rows[:1])[0])

    @cached_property
    def label_counts(self) -> list[tuple[str, int]]:
        """The labels and the number of images of each, the most frequent first."""
        records = self.local.records
        if records.labels is None:
            return []
        places = label_columns(records.labels).ravel()
        counts = np.bincount(places[places != NO_LABEL], minlength=len(records.label_names)).tolist()
        found = [(name, count) for name, count in zip(records.label_names, counts, strict=True) if count]
        return sorted(found, key=lambda label: (-label[1], label[0]))

    @cached_property
    def folder_counts(self) -> list[tuple[bytes, int]]:
        """The folders of the paths, each ending in a slash, and the number of images below each; sorted."""
        direct = Counter(map(os.path.dirname, self.local.records.paths))
        counts: Counter[bytes] = Counter()
        for folder, count in direct.items():
            above = folder.rstrip(b"/")
            while above:
                counts[above + b"/"] += count
                above = os.path.dirname(above).rstrip(b"/")
        return sorted(counts.items())

    @cached_property
    def words(self) -> list[tuple[int, str]]:
        """The meaning of distances: verdicts if the model has them, otherwise `words.distance_words`."""
        if rarity := rarity_of(self.model):
            verdicts = Verdicts.of(rarity, len(self))
            return [(verdicts.copy, "copy"), (verdicts.likely, "likely"), (self.model.bits, "unrelated")]
        return distance_words(self._sample(), self.model.bits)

    def _sample(self) -> NDArray[np.uint8]:
        """Return the codes of a sample of images, from a few places of the index."""
        if self._local is None:
            return np.empty((0, self.model.bits // 8), np.uint8)
        starts = np.linspace(0, max(0, self._count - _STRETCH), _STRETCHES).astype(int)
        spans = [(start, min(start + _STRETCH, self._count)) for start in np.unique(starts).tolist()]
        return np.concatenate([self._local.backend.reconstruct(start, stop) for start, stop in spans])
