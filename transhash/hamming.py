"""Hamming distances between packed codes: exact, ties by position, flat in memory.

All codes are uint8 of shape (n, bits/8). A distance is the number of differing bits. The searches and counts run in
the compiled scan (`transhash.native`) where it was built, and in numpy elsewhere, with the same answers.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from . import native
from .results import NO_DISTANCE, NO_ID, Nearest, Within

isa = next(iter(native.isas), "")
"""The instruction set of the compiled scan, one of `transhash.native.isas`; empty: numpy."""

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
) -> Nearest:
    """Return the min(k, n) nearest codes of each query, ordered by (distance, position).

    With `allowed` (n,) bool, only positions where it is true count. Raises ValueError if shapes do not fit.
    """
    _check_shapes(queries, codes, allowed)
    k = min(k, len(codes) if allowed is None else int(np.count_nonzero(allowed)))
    if isa and k:
        return native.top_k(_contiguous(queries), _contiguous(codes), k, allowed, isa)
    if allowed is not None:
        chosen = np.flatnonzero(allowed)
        found = top_k(queries, codes[chosen], k)
        return Nearest(chosen[found.ids], found.distances)
    best = np.empty((len(queries), 0), dtype=np.int64)
    for start, block in _blocks(queries, codes):
        positions = np.arange(start, start + block.shape[1], dtype=np.int64)
        keys = np.concatenate([best, block.astype(np.int64) << _ID_BITS | positions], axis=1)
        best = np.partition(keys, k - 1, axis=1)[:, :k] if 0 < k < keys.shape[1] else keys
    best = np.sort(best, axis=1)[:, :k]
    return Nearest(best & ((1 << _ID_BITS) - 1), (best >> _ID_BITS).astype(np.int32))


def within(
    queries: NDArray[np.uint8], codes: NDArray[np.uint8], radius: int, allowed: NDArray[np.bool_] | None = None
) -> Within:
    """Return every code at distance <= radius of each query, ordered by (distance, position).

    With `allowed` (n,) bool, only positions where it is true count. Raises ValueError if shapes do not fit.
    """
    _check_shapes(queries, codes, allowed)
    if isa:
        return native.within(_contiguous(queries), _contiguous(codes), radius, allowed, isa)
    if allowed is not None:
        chosen = np.flatnonzero(allowed)
        inner = within(queries, codes[chosen], radius)
        return Within(inner.offsets, chosen[inner.ids], inner.distances)
    owners, ids, found = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.uint16)]
    for start, block in _blocks(queries, codes):
        owner, position = np.nonzero(block <= radius)
        owners.append(owner)
        ids.append(position + start)
        found.append(block[owner, position])
    return Within.sort(len(queries), np.concatenate(owners), np.concatenate(ids), np.concatenate(found))


class Lists:
    """Codes in several arrays, as an inverted file keeps them, for `top_k_lists` and `within_lists`."""

    def __init__(self, codes: Sequence[NDArray[np.uint8]], ids: Sequence[NDArray[np.int64]]) -> None:
        """Take lists of contiguous codes (n, w) uint8 and of their ids (n,) int64; nothing is copied."""
        self.codes = codes
        self.ids = ids
        self.segments = native.Segments(codes, ids)


def top_k_lists(
    queries: NDArray[np.uint8],
    lists: Lists,
    probes: NDArray[np.int64],
    k: int,
    allowed: NDArray[np.bool_] | None = None,
) -> Nearest:
    """Return the `k` nearest codes of each query in the lists that it probes, ordered by (distance, id).

    Args:
        queries: (q, w) uint8.
        lists: the codes; no id stands twice.
        probes: (q, p) int64, numbers of lists, each once a query; -1 for none.
        k: at least 1; rows end in ids of -1 where the lists hold fewer.
        allowed: (highest id + 1,) bool, the ids that count; all if not given.
    """
    _check_shapes(queries, lists.codes[0])
    if isa:
        return native.top_k_lists(_contiguous(queries), lists.segments, probes, k, allowed, isa)
    found = _empty_matches(len(queries), k)
    for query, (codes, ids) in enumerate(_gathered(queries, lists, probes, allowed)):
        own = top_k(queries[query : query + 1], codes, k)
        places = own.ids.shape[1]
        found.ids[query, :places], found.distances[query, :places] = ids[own.ids[0]], own.distances[0]
    return found


def within_lists(
    queries: NDArray[np.uint8],
    lists: Lists,
    probes: NDArray[np.int64],
    radius: int,
    allowed: NDArray[np.bool_] | None = None,
) -> Within:
    """Return every code at distance <= radius of each query in the lists that it probes, ordered by (distance, id).

    Arguments as `top_k_lists`.
    """
    _check_shapes(queries, lists.codes[0])
    if isa:
        return native.within_lists(_contiguous(queries), lists.segments, probes, radius, allowed, isa)
    owners, found, distances = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    for query, (codes, ids) in enumerate(_gathered(queries, lists, probes, allowed)):
        own = within(queries[query : query + 1], codes, radius)
        owners.append(np.full(len(own.ids), query))
        found.append(ids[own.ids])
        distances.append(own.distances)
    return Within.sort(len(queries), np.concatenate(owners), np.concatenate(found), np.concatenate(distances))


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
    _check_shapes(queries, codes)
    if isa:
        return _tallied(queries, codes, query_labels, labels)
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


def _tallied(
    queries: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    query_labels: NDArray[np.int32] | NDArray[np.uint8],
    labels: NDArray[np.int32] | NDArray[np.uint8],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    table = np.zeros((len(queries), 2, queries.shape[1] * 8 + 1), dtype=np.int64)
    asked = _contiguous(queries)
    for start in range(0, len(codes), _ROWS):
        rows = slice(start, start + _ROWS)

        def hits(own: slice, rows: slice = rows) -> NDArray[np.bool_]:
            return np.stack(list(sharing(query_labels[own], labels[rows])))

        table += native.tally(asked, _contiguous(codes[rows]), hits, isa)
    return table.sum(axis=1), table[:, 1]


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


def _check_shapes(
    queries: NDArray[np.uint8], codes: NDArray[np.uint8], allowed: NDArray[np.bool_] | None = None
) -> None:
    """Raise ValueError unless the compiled scan, which sees bare memory, may read it."""
    if queries.ndim != 2 or codes.ndim != 2 or queries.shape[1] != codes.shape[1]:
        raise ValueError(f"queries {queries.shape} and codes {codes.shape} are not of one width")
    if allowed is not None and allowed.shape != (len(codes),):
        raise ValueError(f"a mask {allowed.shape} for {len(codes)} codes")


def _contiguous(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(codes)


def _empty_matches(queries: int, k: int) -> Nearest:
    return Nearest(np.full((queries, k), NO_ID, dtype=np.int64), np.full((queries, k), NO_DISTANCE, dtype=np.int32))


def _gathered(
    queries: NDArray[np.uint8], lists: Lists, probes: NDArray[np.int64], allowed: NDArray[np.bool_] | None
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Yield for each query the codes (m, w) and ids (m,) of the lists that it probes, in the order of their ids."""
    for own in probes:
        codes = [np.empty((0, queries.shape[1]), np.uint8), *(lists.codes[place] for place in own if place >= 0)]
        ids = np.concatenate([np.empty(0, np.int64), *(lists.ids[place] for place in own if place >= 0)])
        order = np.argsort(ids)
        if allowed is not None:
            order = order[allowed[ids[order]]]
        yield np.concatenate(codes)[order], ids[order]
