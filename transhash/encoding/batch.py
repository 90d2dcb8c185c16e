"""Encode one batch: read and prepare its images in threads, then hash them together."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError
from ..hashers.base import EmbeddingHasher, Hasher
from ..sources.base import Item, Skipped
from ..sources.lookahead import Loaded, load_item


@dataclass(frozen=True)
class EncodedBatch:
    """The codes of consecutive items of a source.

    Attributes:
        codes: (n, bits/8) uint8; row i is the code of `items[i]`.
        items: the n images that were read, without their data.
        skipped: the items that could not be read, with the reason.
        embeddings: (n, d) float16 of unit length, or None if they were not requested.
    """

    codes: NDArray[np.uint8]
    items: list[Item]
    skipped: list[Skipped]
    embeddings: NDArray[np.float16] | None = None


class BatchEncoder:
    """Encodes lists of items; each encoding process and each Ray worker has one."""

    def __init__(self, hasher: Hasher, threads: int) -> None:
        """Encode with `hasher`; `threads` threads read and prepare the images."""
        self._hasher = hasher
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="transhash-load")

    def encode(self, chunk: Sequence[Item | Skipped], root: bytes, embeddings: bool) -> EncodedBatch:
        """Encode items whose paths start at `root`, with their embeddings if `embeddings` is true."""
        prepared = list(self._pool.map(lambda item: load_item(item, root, self._hasher.preprocess), chunk))
        return encode_prepared(prepared, self._hasher, embeddings)


def encode_prepared(batch: Sequence[Loaded], hasher: Hasher, embeddings: bool) -> EncodedBatch:
    """Hash the prepared images of a batch.

    Raises ModelError if embeddings are requested from a hasher that has none.
    """
    skipped = [item for item in batch if isinstance(item, Skipped)]
    loaded = [item for item in batch if not isinstance(item, Skipped)]
    width = hasher.ref.bits // 8
    if not loaded:
        return EncodedBatch(np.empty((0, width), dtype=np.uint8), [], skipped)
    stack = np.stack([pixels for _, pixels in loaded])
    vectors = None
    if not embeddings:
        codes = hasher.encode(stack)
    else:
        codes, vectors = embedding_hasher(hasher).encode_both(stack)
    if codes.shape != (len(loaded), width) or codes.dtype != np.uint8:
        raise ModelError(
            f"{hasher.ref.name} returned codes {codes.shape} {codes.dtype}; expected ({len(loaded)}, {width}) uint8"
        )
    return EncodedBatch(codes, [item for item, _ in loaded], skipped, vectors)


def embedding_hasher(hasher: Hasher) -> EmbeddingHasher:
    """Return `hasher` if it has embeddings. Raises ModelError if it has none."""
    if not isinstance(hasher, EmbeddingHasher):
        raise ModelError(f"{hasher.ref.name} has no embeddings; encode without them")
    return hasher
