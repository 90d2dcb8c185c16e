"""Hamming distances between packed codes: exact, with ties ordered by position, in bounded memory.

All codes are uint8 of shape (n, bits/8). A distance is the number of differing bits. Searches and counts use the
compiled scan (`transhash.native`) if it was built, and numpy otherwise, with the same results.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import native
from .results import NO_DISTANCE, NO_ID, Nearest, Within
from .system.arguments import check_plain

isa = next(iter(native.isas), "")
"""The instruction set of the compiled scan, one of `transhash.native.isas`; empty for numpy."""

_BLOCK = 1 << 22  # distances computed at a time: 8 MiB of uint16
_ROWS = 1 << 16  # codes counted at a time, so that their data stay in the cache
_SPARSE = 16
_GATHERED = 1 << 26  # bytes of codes that are copied
_ID_BITS = 48  # a sort key is distance << 48 | position


def distances(queries: NDArray[np.uint8], codes: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return the distance of every query (q, w) to every code (n, w): (q, n) uint16."""
    _check_shapes(queries, codes)
    query_words, code_words = _words(queries), _words(codes)
    total = np.zeros((len(queries), len(codes)), dtype=np.uint16)
    for word in range(query_words.shape[1]):
        total += np.bitwise_count(query_words[:, word, None] ^ code_words[None, :, word])
    return total


def top_k(
    queries: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    k: int,
    allowed: NDArray[np.bool_] | None = None,
    count: int | None = None,
) -> Nearest:
    """Return the min(k, n) nearest codes of each query, ordered by (distance, position).

    With `allowed` (n,) bool, only positions where it is true count; `count` is their number, if known. Raises
    ValueError if shapes do not fit.
    """
    _check_shapes(queries, codes, allowed)
    count = allowed_count(codes, allowed) if count is None else count
    k = min(k, count)
    if isa and k and not is_sparse(count, codes):
        return native.top_k(_contiguous(queries), _contiguous(codes), k, allowed, isa)
    if allowed is not None:
        positions = np.flatnonzero(allowed)
        nearest = top_k(queries, codes[positions], k)
        return Nearest(positions[nearest.ids], nearest.distances)
    best = np.empty((len(queries), 0), dtype=np.int64)
    for start, block in _blocks(queries, codes):
        positions = np.arange(start, start + block.shape[1], dtype=np.int64)
        keys = np.concatenate([best, block.astype(np.int64) << _ID_BITS | positions], axis=1)
        best = np.partition(keys, k - 1, axis=1)[:, :k] if 0 < k < keys.shape[1] else keys
    best = np.sort(best, axis=1)[:, :k]
    return Nearest(best & ((1 << _ID_BITS) - 1), (best >> _ID_BITS).astype(np.int32))


def within(
    queries: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    radius: int,
    allowed: NDArray[np.bool_] | None = None,
    count: int | None = None,
) -> Within:
    """Return every code at distance <= radius of each query, ordered by (distance, position).

    Arguments as `top_k`.
    """
    _check_shapes(queries, codes, allowed)
    if isa and not is_sparse(allowed_count(codes, allowed) if count is None else count, codes):
        return native.within(_contiguous(queries), _contiguous(codes), radius, allowed, isa)
    if allowed is not None:
        positions = np.flatnonzero(allowed)
        inside = within(queries, codes[positions], radius)
        return Within(inside.offsets, positions[inside.ids], inside.distances)
    owners, ids, far = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.uint16)]
    for start, block in _blocks(queries, codes):
        owner, position = np.nonzero(block <= radius)
        owners.append(owner)
        ids.append(position + start)
        far.append(block[owner, position])
    return Within.sort(len(queries), np.concatenate(owners), np.concatenate(ids), np.concatenate(far))


def allowed_count(codes: NDArray[np.uint8], allowed: NDArray[np.bool_] | None) -> int:
    """Return how many codes a mask (n,) bool allows; all without one."""
    return len(codes) if allowed is None else int(np.count_nonzero(allowed))


def is_sparse(count: int, codes: NDArray[np.uint8]) -> bool:
    """Return whether so few codes are allowed that gathering them takes less time than comparing all."""
    return count * _SPARSE < len(codes) and count * codes.shape[1] < _GATHERED


class Lists:
    """The inverted lists of an index, for `top_k_lists`, `top_k_probed` and `within_lists`."""

    def __init__(
        self,
        codes: Sequence[NDArray[np.uint8]],
        ids: Sequence[NDArray[np.int64]],
        centroids: NDArray[np.uint8] | None = None,
    ) -> None:
        """Take lists of contiguous codes (n, w) uint8 and of their ids (n,) int64, without copying them.

        `top_k_probed` needs the centroid of each list, (lists, w) uint8.
        """
        self.codes = codes
        self.ids = ids
        self.centroids = centroids
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
        lists: the codes; ids are unique.
        probes: (q, p) int64, numbers of lists, distinct for each query; -1 for none.
        k: at least 1; rows end in ids of -1 if the lists hold fewer codes.
        allowed: (highest id + 1,) bool; the search considers only ids where it is true.
    """
    _check_shapes(queries, lists.codes[0])
    if isa:
        return native.top_k_lists(_contiguous(queries), lists.segments, probes, k, allowed, isa)
    result = _empty_matches(len(queries), k)
    for query, (codes, ids) in enumerate(_gathered(queries, lists, probes, allowed)):
        nearest = top_k(queries[query : query + 1], codes, k)
        count = nearest.ids.shape[1]
        result.ids[query, :count], result.distances[query, :count] = ids[nearest.ids[0]], nearest.distances[0]
    return result


def top_k_probed(
    queries: NDArray[np.uint8], lists: Lists, probes: int, k: int, allowed: NDArray[np.bool_] | None = None
) -> Nearest:
    """Return the `k` nearest codes of each query in the `probes` lists with the nearest centroids.

    1 <= `probes` <= number of lists; other arguments as `top_k_lists`.
    """
    assert lists.centroids is not None
    _check_shapes(queries, lists.centroids)
    if isa:
        return native.top_k_probed(_contiguous(queries), lists.segments, lists.centroids, probes, k, allowed, isa)
    return top_k_lists(queries, lists, top_k(queries, lists.centroids, probes).ids, k, allowed)


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
    owners, matches, distances = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    for query, (codes, ids) in enumerate(_gathered(queries, lists, probes, allowed)):
        inside = within(queries[query : query + 1], codes, radius)
        owners.append(np.full(len(inside.ids), query))
        matches.append(ids[inside.ids])
        distances.append(inside.distances)
    return Within.sort(len(queries), np.concatenate(owners), np.concatenate(matches), np.concatenate(distances))


def counts(
    queries: NDArray[np.uint8],
    codes: NDArray[np.uint8],
    query_labels: NDArray[np.int32] | NDArray[np.uint8],
    labels: NDArray[np.int32] | NDArray[np.uint8],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count codes at each distance of each query: all of them, and those that share a label with the query.

    Labels are one per row, (rows,) int32 with a negative number for none; or bit sets, (rows, classes/8) uint8 with
    one bit per class in the order of `numpy.packbits`. Both sides use the same form and the same class numbers.

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
    """Do what `counts` does with the compiled scan."""
    queries = _contiguous(queries)
    found, relevant = np.zeros((2, len(queries), queries.shape[1] * 8 + 1), dtype=np.int64)
    alike = _by_label(queries, query_labels) if labels.ndim == 1 else []
    for start in range(0, len(codes), _ROWS):
        rows = slice(start, start + _ROWS)
        block, own = _contiguous(codes[rows]), labels[rows]
        if labels.ndim > 1:
            table = native.tally(queries, block, partial(_hits, query_labels, own), isa)
            found += table.sum(axis=1)
            relevant += table[:, 1]
            continue
        found += native.tally_all(queries, block, isa)
        order = np.argsort(own, kind="stable")  # so that the codes that share a label with a query are consecutive
        block, own = block[order], own[order]
        for label, asked, group in alike:
            same = slice(*np.searchsorted(own, [label, label + 1]))
            relevant[asked] += native.tally_all(group, block[same], isa)
    return found, relevant


def _by_label(
    queries: NDArray[np.uint8], labels: NDArray[np.int32] | NDArray[np.uint8]
) -> list[tuple[int, NDArray[np.int64], NDArray[np.uint8]]]:
    """Return each label, the queries that have it (m,), and their codes (m, bits/8)."""
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return [
        (int(labels[asked[0]]), asked, queries[asked]) for asked in groups if len(asked) and labels[asked[0]] >= 0
    ]


def _hits(query_labels: NDArray[Any], labels: NDArray[Any], group: slice) -> NDArray[np.bool_]:
    return np.stack(list(sharing(query_labels[group], labels)))


def sharing(
    query_labels: NDArray[np.int32] | NDArray[np.uint8], labels: NDArray[np.int32] | NDArray[np.uint8]
) -> Iterator[NDArray[np.bool_]]:
    """Yield for each query which of n rows share a label with it, (n,) bool; labels are as `counts` takes them."""
    if labels.ndim == 1:
        most = max(int(numbers.max(initial=0)) for numbers in (query_labels, labels))
        narrow = labels.astype(np.min_scalar_type(-1 - most))  # fewer bytes to compare
        for label in query_labels.tolist():
            yield narrow == label if label >= 0 else np.zeros(len(labels), np.bool_)
        return
    query_words, words = (_columns(sets.astype(np.uint8, copy=False)) for sets in (query_labels, labels))
    for query in range(len(query_labels)):
        hits = np.zeros(len(labels), dtype=np.bool_)
        for word in range(len(words)):
            hits |= (words[word] & query_words[word, query]) != 0
        yield hits


def _columns(rows: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return rows (n, w) as columns of zero-padded 64-bit words, (w/8, n), each of which is contiguous."""
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 8)))
    return np.ascontiguousarray(padded.view(np.uint64).T)


def _blocks(queries: NDArray[np.uint8], codes: NDArray[np.uint8]) -> Iterator[tuple[int, NDArray[np.uint16]]]:
    """Yield (start, distances (q, block)) for blocks of the database, in bounded memory."""
    size = max(1, _BLOCK // max(1, len(queries)))
    for start in range(0, len(codes), size):
        yield start, distances(queries, codes[start : start + size])


def _words(codes: NDArray[np.uint8]) -> NDArray[np.uint64] | NDArray[np.uint8]:
    """View codes as 64-bit words if their width allows it."""
    if codes.shape[1] % 8 == 0:
        return np.ascontiguousarray(codes).view(np.uint64)
    return codes


def _check_shapes(
    queries: NDArray[np.uint8], codes: NDArray[np.uint8], allowed: NDArray[np.bool_] | None = None
) -> None:
    """Raise ValueError for shapes that do not match, with which the compiled scan would read out of bounds.

    Raises TypeError for masked arrays and tensors.
    """
    check_plain("queries", queries)
    check_plain("codes", codes)
    if queries.ndim != 2 or codes.ndim != 2 or queries.shape[1] != codes.shape[1]:
        raise ValueError(f"queries {queries.shape} and codes {codes.shape} have different widths")
    if allowed is not None and allowed.shape != (len(codes),):
        raise ValueError(f"a mask {allowed.shape} for {len(codes)} codes")


def _contiguous(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return codes if codes.flags.c_contiguous else np.ascontiguousarray(codes)


def _empty_matches(queries: int, k: int) -> Nearest:
    return Nearest(np.full((queries, k), NO_ID, dtype=np.int64), np.full((queries, k), NO_DISTANCE, dtype=np.int32))


def _gathered(
    queries: NDArray[np.uint8], lists: Lists, probes: NDArray[np.int64], allowed: NDArray[np.bool_] | None
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Yield for each query the codes (m, w) and ids (m,) of the lists that it probes, ordered by id."""
    for row in probes:
        probed = row[row >= 0]
        codes = [np.empty((0, queries.shape[1]), np.uint8), *(lists.codes[number] for number in probed)]
        ids = np.concatenate([np.empty(0, np.int64), *(lists.ids[number] for number in probed)])
        order = np.argsort(ids)
        if allowed is not None:
            order = order[allowed[ids[order]]]
        yield np.concatenate(codes)[order], ids[order]
