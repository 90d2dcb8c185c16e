"""Hamming distances between packed codes, in numpy: exact, ties by position, flat in memory.

All codes are C-contiguous uint8 of shape (n, bits/8). A distance is the number of differing bits.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .results import Matches, RangeMatches

_BLOCK = 1 << 22  # distances computed at a time: 8 MiB of uint16
_ROWS = 1 << 16  # codes counted at a time: what belongs to them stays in the cache
_ID_BITS = 48  # a sort key is distance << 48 | position


def distances(queries: NDArray[np.uint8], codes: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return the distance of every query (q, w) to every code (n, w): (q, n) uint16."""
    query_words, code_words = _words(queries), _words(codes)
    total = np.zeros((len(queries), len(codes)), dtype=np.uint16)
    for word in range(query_words.shape[1]):
        total += np.bitwise_count(query_words[:, word, None] ^ code_words[None, :, word])
    return total


def top_k(
    queries: NDArray[np.uint8], codes: NDArray[np.uint8], k: int, allowed: NDArray[np.bool_] | None = None
) -> Matches:
    """Return the min(k, n) nearest codes of each query, ordered by (distance, position).

    With `allowed` (n,) bool, only positions where it is true count.
    """
    if allowed is not None:
        chosen = np.flatnonzero(allowed)
        found = top_k(queries, codes[chosen], k)
        return Matches(chosen[found.ids], found.distances)
    k = min(k, len(codes))
    best = np.empty((len(queries), 0), dtype=np.int64)
    for start, block in _blocks(queries, codes):
        positions = np.arange(start, start + block.shape[1], dtype=np.int64)
        keys = np.concatenate([best, block.astype(np.int64) << _ID_BITS | positions], axis=1)
        best = np.partition(keys, k - 1, axis=1)[:, :k] if 0 < k < keys.shape[1] else keys
    best = np.sort(best, axis=1)[:, :k]
    return Matches(best & ((1 << _ID_BITS) - 1), (best >> _ID_BITS).astype(np.int32))


def within(
    queries: NDArray[np.uint8], codes: NDArray[np.uint8], radius: int, allowed: NDArray[np.bool_] | None = None
) -> RangeMatches:
    """Return every code at distance <= radius of each query, ordered by (distance, position).

    With `allowed` (n,) bool, only positions where it is true count.
    """
    if allowed is not None:
        chosen = np.flatnonzero(allowed)
        inner = within(queries, codes[chosen], radius)
        return RangeMatches(inner.offsets, chosen[inner.ids], inner.distances)
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
    query_labels: NDArray[np.int32] | NDArray[np.uint8],
    labels: NDArray[np.int32] | NDArray[np.uint8],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count codes at each distance of each query: all of them, and those that share a label with the query.

    Labels are one a row, (rows,) int32 with a negative number for none; or sets, (rows, classes/8) uint8 with one bit
    a class, as `numpy.packbits` makes them. Both sides are of one kind and number the classes alike.

    Args:
        queries: (q, bits/8) uint8.
        codes: (n, bits/8) uint8.
        query_labels: labels of the queries.
        labels: labels of the codes.

    Returns:
        Two arrays (q, bits + 1) int64: codes, and relevant codes, at distance 0, 1, ... bits.
    """
    levels = queries.shape[1] * 8 + 1
    cell = np.uint8 if 2 * levels <= 1 << 8 else np.uint16
    table = np.zeros((len(queries), 2 * levels), dtype=np.int64)  # what is not relevant, then what is
    query_words = _columns(queries)
    for start in range(0, len(codes), _ROWS):
        words = _columns(codes[start : start + _ROWS])
        for query, hits in enumerate(sharing(query_labels, labels[start : start + _ROWS])):
            cells = hits * cell(levels)
            for word in range(len(words)):
                cells += np.bitwise_count(words[word] ^ query_words[word, query])
            table[query] += np.bincount(cells, minlength=2 * levels)
    relevant = table[:, levels:]
    return table[:, :levels] + relevant, relevant


def sharing(
    query_labels: NDArray[np.int32] | NDArray[np.uint8], labels: NDArray[np.int32] | NDArray[np.uint8]
) -> Iterator[NDArray[np.bool_]]:
    """Yield for each query which of n rows share a label with it, (n,) bool; labels are as `counts` takes them."""
    if labels.ndim == 1:
        for label in query_labels:
            yield (labels == label) & (label >= 0)
        return
    query_words, words = (_columns(sets.astype(np.uint8, copy=False)) for sets in (query_labels, labels))
    for query in range(len(query_labels)):
        hits = np.zeros(len(labels), dtype=np.bool_)
        for word in range(len(words)):
            hits |= (words[word] & query_words[word, query]) != 0
        yield hits


def _columns(rows: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return rows (n, w) as words, filled up with zeros, a word a row: (w/8, n). Each word is then contiguous."""
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 8)))
    return np.ascontiguousarray(padded.view(np.uint64).T)


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
