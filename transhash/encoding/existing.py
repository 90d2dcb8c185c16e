"""The rows of the codes file that a run extends."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..codes import UNKNOWN, ModelRef, keys, open_codes
from ..errors import CodesError
from ..sources.base import Item, Skipped
from ..system.progress import Progress, silent


class ExistingRows:
    """Distinguishes new images from known ones by their paths, in 40 bytes per row.

    Attributes:
        changed: (n,) bool, rows whose file's size or time has changed.
        seen: (n,) bool, rows whose file exists.
        passed: number of items of the source that had a row and were not encoded again.
    """

    def __init__(self, path: Path, model: ModelRef, between: Progress = silent) -> None:
        """Read the rows of a codes file, calling `between` with the number of rows read so far, and the total.

        Raises CodesError if `model` preprocesses images or computes differently, and what `between` raises.
        """
        known: list[bytes] = []
        stats: list[NDArray[np.int64]] = []
        with open_codes(path, embeddings=False, on_rows=between) as file:
            before = file.header.model
            if (before.digest, before.preprocessing or model.preprocessing) != (model.digest, model.preprocessing):
                old, new = (f"{ref.name} ({ref.digest[:12]}, {ref.preprocessing})" for ref in (before, model))
                raise CodesError(f"{path}: was made with {old}, not with {new}; encode into another file")
            for start, block in file.blocks(embeddings=False):
                known += [keys.path_key(name) for name in block.records.paths]
                unknown = np.full(len(block), UNKNOWN, np.int64)
                sizes, mtimes = block.records.sizes, block.records.mtimes
                stats.append(np.stack([unknown if v is None else v for v in (sizes, mtimes)], axis=1))
                between(start + len(block), len(file))
        unsorted = keys.array(known)
        self._order = np.argsort(unsorted, kind="stable")
        self._keys = unsorted[self._order]
        self._stats = np.concatenate(stats) if stats else np.empty((0, 2), np.int64)
        self.changed = np.zeros(len(unsorted), bool)
        self.seen = np.zeros(len(unsorted), bool)
        self.passed = 0

    def new(self, items: Iterable[Item | Skipped], *, sync: bool) -> Iterator[Item | Skipped]:
        """Yield the items without a row and, with `sync`, those whose files have changed."""
        for item in items:
            rows = self._rows(item.path)
            if isinstance(item, Skipped) or not len(rows):
                yield item
                continue
            self.seen[rows] = True
            was, now = self._stats[rows], np.array([item.size, item.mtime])
            self.changed[rows] = ((was != now) & (was != UNKNOWN) & (now != UNKNOWN)).any(axis=1)
            if sync and self.changed[rows].any():
                yield item
            else:
                self.passed += 1

    def kept(self, *, sync: bool) -> NDArray[np.bool_]:
        """Return which rows to keep, (n,) bool, after the last item: all or, with `sync`, unchanged ones."""
        return self.seen & ~self.changed if sync else np.ones_like(self.seen)

    def _rows(self, path: bytes) -> NDArray[np.int64]:
        key = np.array(keys.path_key(path), dtype=keys.DTYPE)
        return self._order[np.searchsorted(self._keys, key) : np.searchsorted(self._keys, key, side="right")]
