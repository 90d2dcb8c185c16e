"""What every process that encodes does: items are read in threads, prepared, and given to the hasher as one batch."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, ModelError
from ..hashers.base import EmbeddingHasher, Hasher
from ..sources import decode
from ..sources.base import Item, Skipped

Read = tuple[Item, NDArray[Any]] | Skipped
"""An item without its data, and its pixels as the hasher takes them; or why it has none."""


@dataclass(frozen=True)
class Batch:
    """Some consecutive items of a source: their codes, or why they have none.

    Attributes:
        codes: (n, bits/8) uint8; row i is the code of `items[i]`.
        items: the n images that were read, without their data.
        skipped: those that could not be.
        embeddings: (n, d) float16 of unit length, if they were asked for.
    """

    codes: NDArray[np.uint8]
    items: list[Item]
    skipped: list[Skipped]
    embeddings: NDArray[np.float16] | None = None


class Encoder:
    """Encodes lists of items, in a process that does nothing else."""

    def __init__(self, hasher: Hasher, threads: int) -> None:
        """Encode with `hasher`, and decode in so many threads."""
        self._hasher = hasher
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="transhash-load")

    def encode(self, chunk: Sequence[Item | Skipped], root: bytes, embeddings: bool) -> Batch:
        """Return the codes of some items, with paths from `root`, and their embeddings if they are wanted."""
        return encoded(
            list(self._pool.map(lambda item: read(item, root, self._hasher), chunk)), self._hasher, embeddings
        )


def read(item: Item | Skipped, root: bytes, hasher: Hasher) -> Read:
    """Read and prepare one image."""
    if isinstance(item, Skipped):
        return item
    try:
        pixels = hasher.preprocess(decode.open_item(root, item))
    except ImageError as error:
        return Skipped(item.path, str(error))
    return Item(item.path, item.labels, None, item.size, item.mtime), pixels


def encoded(batch: Sequence[Read], hasher: Hasher, embeddings: bool) -> Batch:
    """Encode what was read.

    Raises ModelError if embeddings are wanted of a hasher that has none.
    """
    skipped = [item for item in batch if isinstance(item, Skipped)]
    found = [item for item in batch if not isinstance(item, Skipped)]
    width = hasher.ref.bits // 8
    if not found:
        return Batch(np.empty((0, width), dtype=np.uint8), [], skipped)
    stack = np.stack([pixels for _, pixels in found])
    vectors = None
    if not embeddings:
        codes = hasher.encode(stack)
    elif isinstance(hasher, EmbeddingHasher):
        codes, vectors = hasher.encode_both(stack)
    else:
        raise ModelError(f"{hasher.ref.name} has no embeddings; leave out --embeddings")
    assert codes.shape == (len(found), width), "a hasher must return one code per image"
    return Batch(codes, [item for item, _ in found], skipped, vectors)
