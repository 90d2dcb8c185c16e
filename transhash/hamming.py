"""Hamming distances between packed codes, in numpy: exact, ties by position, flat in memory.

All codes are C-contiguous uint8 of shape (n, bits/8). A distance is the number of differing bits.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .results import Matches, RangeMatches

_BLOCK = 1 << 22  # distances computed at a time: 8 MiB of uint16
_ID_BITS = 48  # a sort key is distance << 48 | position


def distances(queries: NDArray[np.uint8], codes: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return the distance of every query (q, w) to every code (n, w): (q, n) uint16."""
    query_words, code_words = _words(queries), _words(codes)
    total = np.zeros((len(queries), len(codes)), dtype=np.uint16)
    for word in range(query_words.shape[1]):
        total += np.bitwise_count(query_words[:, word, None] ^ code_words[None, :, word])
    return total


def top_k(queries: NDArray[np.uint8], codes: NDArray[np.uint8], k: int) -> Matches:
    """Return the min(k, n) nearest codes of each query, ordered by (distance, position)."""
    k = min(k, len(codes))
    best = np.empty((len(queries), 0), dtype=np.int64)
    for start, block in _blocks(queries, codes):
        positions = np.arange(start, start + block.shape[1], dtype=np.int64)
        keys = np.concatenate([best, block.astype(np.int64) << _ID_BITS | positions], axis=1)
        best = np.partition(keys, k - 1, axis=1)[:, :k] if 0 < k < keys.shape[1] else keys
    best = np.sort(best, axis=1)[:, :k]
    return Matches(best & ((1 << _ID_BITS) - 1), (best >> _ID_BITS).astype(np.int32))


def within(queries: NDArray[np.uint8], codes: NDArray[np.uint8], radius: int) -> RangeMatches:
    """Return every code at distance <= radius of each query, ordered by (distance, position)."""
    owners, ids, found = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.uint16)]
    for start, block in _blocks(queries, codes):
        owner, position = np.nonzero(block <= radius)
        owners.append(owner)
        ids.append(position + start)
        found.append(block[owner, position])
    return RangeMatches.sort(len(queries), np.concatenate(owners), np.concatenate(ids), np.concatenate(found))


def counts(
    queries: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    query_labels: NDArray[np.int32],
    labels: NDArray[np.int32],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count codes at each distance of each query: all of them, and those that share the query's label.

    Args:
        queries: (q, bits/8) uint8.
        codes: (n, bits/8) uint8.
        query_labels: (q,) int32.
        labels: (n,) int32.

    Returns:
        Two arrays (q, bits + 1) int64: codes, and relevant codes, at distance 0, 1, ... bits.
    """
    levels = queries.shape[1] * 8 + 1
    everything = np.zeros((len(queries), levels), dtype=np.int64)
    relevant = np.zeros_like(everything)
    offsets = np.arange(len(queries))[:, None] * levels
    for start, block in _blocks(queries, codes):
        cells = block + offsets
        hits = query_labels[:, None] == labels[None, start : start + block.shape[1]]
        everything += np.bincount(cells.ravel(), minlength=everything.size).reshape(everything.shape)
        relevant += np.bincount(cells[hits], minlength=everything.size).reshape(everything.shape)
    return everything, relevant


def _blocks(queries: NDArray[np.uint8], codes: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.uint16]]]:
    """Yield (start, distances (q, block)) over the database, so that memory does not grow with it."""
    size = max(1, _BLOCK // max(1, len(queries)))
    for start in range(0, len(codes), size):
        yield start, distances(queries, codes[start : start + size])


def _words(codes: NDArray[np.uint8]) -> NDArray[np.uint64] | NDArray[np.uint8]:
    """View codes as the widest words that fit their width."""
    if codes.shape[1] % 8 == 0:
        return np.ascontiguousarray(codes).view(np.uint64)
    return codes
