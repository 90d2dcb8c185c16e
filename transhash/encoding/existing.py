"""What a codes file already holds, for a run that appends to it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..codes import UNKNOWN, ModelRef, keys, open_codes
from ..errors import CodesError
from ..files import display
from ..sources.base import Item, Skipped


class ExistingRows:
    """Tells new images from known ones by their paths, in 40 bytes a row.

    Attributes:
        changed: which rows' files differ in size or time from what they were, (n,) bool.
        seen: which rows' images came by, (n,) bool.
    """

    def __init__(self, path: Path, root: bytes, model: ModelRef) -> None:
        """Read the rows of a codes file.

        Raises CodesError if it was made of another folder than `root`, or by another model or arithmetic.
        """
        known: list[bytes] = []
        stats: list[NDArray[np.int64]] = []
        with open_codes(path) as file:
            before = file.header.model
            if (before.digest, before.preprocessing or model.preprocessing) != (model.digest, model.preprocessing):
                one, other = (f"{ref.name} ({ref.digest[:12]}, {ref.preprocessing})" for ref in (before, model))
                raise CodesError(f"{path}: was made by {one}, not by {other}; encode into another file")
            if file.header.root != root:
                there = display(file.header.root) or "a list"
                raise CodesError(f"{path}: was made of {there}; append to it from there, or choose another output")
            for _, block in file.blocks(embeddings=False):
                known += [keys.path_key(name) for name in block.records.paths]
                unknown = np.full(len(block), UNKNOWN, np.int64)
                sizes, mtimes = block.records.sizes, block.records.mtimes
                stats.append(np.stack([unknown if v is None else v for v in (sizes, mtimes)], axis=1))
        found = keys.array(known)
        self._order = np.argsort(found, kind="stable")
        self._keys = found[self._order]
        self._stats = np.concatenate(stats) if stats else np.empty((0, 2), np.int64)
        self.changed = np.zeros(len(found), bool)
        self.seen = np.zeros(len(found), bool)

    def new(self, items: Iterable[Item | Skipped], *, sync: bool) -> Iterator[Item | Skipped]:
        """Yield the items that have no row yet and, with `sync`, those whose files have changed."""
        for item in items:
            rows = self._rows(item.path)
            self.seen[rows] = True
            if isinstance(item, Skipped) or not len(rows):
                yield item
                continue
            was, now = self._stats[rows], np.array([item.size, item.mtime])
            self.changed[rows] = ((was != now) & (was != UNKNOWN) & (now != UNKNOWN)).any(axis=1)
            if sync and self.changed[rows].any():
                yield item

    def keep(self, *, sync: bool) -> NDArray[np.bool_]:
        """Return the rows to keep, (n,) bool, once all items came by: all or, with `sync`, what is as it was."""
        return self.seen & ~self.changed if sync else np.ones_like(self.seen)

    def _rows(self, path: bytes) -> NDArray[np.int64]:
        key = np.array(keys.path_key(path), dtype=keys.DTYPE)
        return self._order[np.searchsorted(self._keys, key) : np.searchsorted(self._keys, key, side="right")]
