"""Encoded batches that are not yet in a part of the codes file."""

import time

import numpy as np

from ..codes import UNKNOWN, Codes, Records, StringTable, label_ids
from ..hashers.base import Hasher
from .batch import EncodedBatch

# Batches are committed once they hold _ITEMS items, or _SECONDS after the last commit.
_ITEMS = 1 << 13
_SECONDS = 2.0


class PendingBatches:
    """Collects batches until they are due to be committed."""

    def __init__(self, root: bytes, hasher: Hasher) -> None:
        """Collect codes of `hasher` for paths that start at `root`."""
        self._root = root
        self._hasher = hasher
        self._batches: list[EncodedBatch] = []
        self._items = 0
        self._since = time.monotonic()

    def add(self, batch: EncodedBatch) -> None:
        """Append a batch."""
        self._batches.append(batch)
        self._items += len(batch.items) + len(batch.skipped)

    @property
    def due(self) -> bool:
        """Whether the batches should be committed now."""
        return self._items >= _ITEMS or time.monotonic() - self._since > _SECONDS

    def take(self) -> Codes:
        """Return the batches as one `Codes`, and remove them."""
        codes = self.codes()
        self._batches, self._items, self._since = [], 0, time.monotonic()
        return codes

    def codes(self) -> Codes:
        """Return the batches as one `Codes`."""
        batches = self._batches
        items = [item for batch in batches for item in batch.items]
        width = max((len(item.labels) for item in items), default=0)
        names: dict[str, int] = {}
        labels = label_ids([item.labels for item in items], width, names) if width else None
        known = any(item.size != UNKNOWN for item in items)
        records = Records(
            StringTable.of([item.path for item in items]),
            self._root,
            labels,
            tuple(names),
            np.array([item.size for item in items], np.int64) if known else None,
            np.array([item.mtime for item in items], np.int64) if known else None,
        )
        vectors = [batch.embeddings for batch in batches if batch.embeddings is not None]
        return Codes(
            np.concatenate([np.empty((0, self._hasher.ref.bits // 8), np.uint8), *(b.codes for b in batches)]),
            records,
            self._hasher.ref,
            [(item.path, item.reason) for batch in batches for item in batch.skipped],
            np.concatenate(vectors) if vectors else None,
        )
