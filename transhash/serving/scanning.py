"""Answer several queries with one scan of an index."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MismatchError, TransHashError
from ..index import rerank
from ..results import Nearest
from .queries import MAX_MATCHES, Found, Page, Passed, Query, QueryError
from .snapshot import Snapshot

Outcome = Page | Exception


@dataclass(frozen=True, eq=False)
class _Ranked:
    """The rows of one query that belong to its page, and the total number."""

    ids: NDArray[np.int64]
    distances: NDArray[np.int32]
    scores: NDArray[np.float64] | None
    passed: Passed
    more: bool


def answer(snapshot: Snapshot, queries: Sequence[Query]) -> list[Outcome]:
    """Return for each query its page or its error.

    Queries with the same filter and length are scanned for together. A query never fails because of another one.
    """
    resolved = _with_codes(snapshot, queries)
    outcomes: dict[int, Outcome] = {
        place: query for place, query in enumerate(resolved) if isinstance(query, Exception)
    }
    groups: dict[Any, list[int]] = {}
    for place, query in enumerate(resolved):
        if isinstance(query, Query):
            groups.setdefault((_wanted(query), query.where, query.outputs is not None), []).append(place)
    for (wanted, _, _), places in groups.items():
        members = [query for place in places if isinstance(query := resolved[place], Query)]
        outcomes.update(zip(places, _scanned(snapshot, members, wanted), strict=True))
    return [outcomes[place] for place in range(len(queries))]


def _with_codes(snapshot: Snapshot, queries: Sequence[Query]) -> list[Query | Exception]:
    """Return the queries with their codes, those of ids read together."""
    ids = [query.id for query in queries if query.id is not None]
    codes: dict[int, NDArray[np.uint8]] = {}
    errors: dict[int, Exception] = {}
    try:
        codes = dict(zip(ids, snapshot.codes(np.array(ids, np.int64)), strict=True)) if ids else {}
    except TransHashError:
        for id in ids:
            try:
                codes[id] = snapshot.codes(np.array([id], np.int64))[0]
            except TransHashError as error:
                errors[id] = error
    return [_with_code(snapshot, query, codes, errors) for query in queries]


def _with_code(
    snapshot: Snapshot, query: Query, codes: dict[int, NDArray[np.uint8]], errors: dict[int, Exception]
) -> Query | Exception:
    if query.id is not None:
        return errors[query.id] if query.id in errors else replace(query, packed=codes[query.id])
    assert query.packed is not None
    if len(query.packed) * 8 != snapshot.model.bits:
        return MismatchError(f"a code of {len(query.packed) * 8} bits; the index has {snapshot.model.bits}")
    if query.outputs is not None and len(query.outputs) != snapshot.model.bits:
        return QueryError("the index has changed; search again")
    return query


def _wanted(query: Query) -> int:
    """Return how many nearest rows a page needs: including earlier pages, and one that tells of more."""
    if query.outputs is not None:
        return query.candidates
    return query.passed.count + query.k + 1 + (query.id is not None)


def _scanned(snapshot: Snapshot, queries: Sequence[Query], wanted: int) -> Sequence[Outcome]:
    packed = np.stack([query.packed for query in queries if query.packed is not None])
    try:
        found = snapshot.nearest(packed, wanted, queries[0].where)
        if queries[0].outputs is not None:
            outputs = np.stack([query.outputs for query in queries if query.outputs is not None])
            found = rerank.by_outputs(snapshot.local, found, outputs)
        ranked = [_page(query, found, place, wanted) for place, query in enumerate(queries)]
        return _described(snapshot, queries, ranked)
    except TransHashError as error:
        return [error] * len(queries)


def _page(query: Query, found: Nearest, place: int, wanted: int) -> _Ranked:
    """Return the rows of a query's page."""
    ids, distances = found.row(place)
    all_found = len(ids) < wanted
    scores = getattr(found, "scores", None)
    if scores is not None:
        start, stop = query.passed.count, query.passed.count + query.k
        chosen = np.arange(start, min(stop, len(ids)))
        passed = Passed(start + len(chosen))
        return _Ranked(ids[chosen], distances[chosen], scores[place][chosen], passed, stop < len(ids))
    kept = np.ones(len(ids), np.bool_) if query.id is None else ids != query.id
    if query.radius is not None:
        all_found |= bool((distances > query.radius).any())
        kept &= distances <= query.radius
    last = (query.passed.distance, query.passed.id)
    behind = kept & ((distances > last[0]) | ((distances == last[0]) & (ids > last[1])))
    rest = np.flatnonzero(behind)
    chosen = rest[: min(query.k, MAX_MATCHES - query.passed.count)]
    passed = query.passed
    if len(chosen):
        passed = Passed(int(kept.sum()) - len(rest) + len(chosen), int(distances[chosen[-1]]), int(ids[chosen[-1]]))
    more = bool(len(chosen)) and (len(rest) > query.k or not all_found) and passed.count < MAX_MATCHES
    return _Ranked(ids[chosen], distances[chosen], None, passed, more)


def _described(snapshot: Snapshot, queries: Sequence[Query], ranked: Sequence[_Ranked]) -> list[Outcome]:
    """Look up the paths and labels of all pages at once."""
    queried = [query.id for query in queries if query.id is not None]
    ids = np.unique(np.concatenate([np.array(queried, np.int64), *(rows.ids for rows in ranked)]))
    shown = dict(zip(ids.tolist(), snapshot.shown(ids), strict=True))
    paths = {id: image.path.decode("utf-8", "surrogateescape") for id, image in shown.items()}
    pages: list[Outcome] = []
    for query, rows in zip(queries, ranked, strict=True):
        scores = [None] * len(rows.ids) if rows.scores is None else rows.scores.tolist()
        matches = [
            Found(id, paths[id], shown[id].labels, distance, score)
            for id, distance, score in zip(rows.ids.tolist(), rows.distances.tolist(), scores, strict=True)
        ]
        path = None if query.id is None else paths[query.id]
        following = replace(query, passed=rows.passed) if rows.more else None
        pages.append(Page(query, matches, snapshot.generation, path, following))
    return pages
