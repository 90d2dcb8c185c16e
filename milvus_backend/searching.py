"""Search by k and by radius, with results in the order of (distance, id).

Milvus returns a limited number of hits, and any of several equally distant rows. So more hits are requested than are
wanted. If even those all tie at the last distance, the rows at that distance are requested by ranges of ids, which
are halved until all rows of a range fit into an answer.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transhash.results import NO_DISTANCE, NO_ID, Nearest, Within

from . import expressions
from .server import Server

MOST_HITS = 1 << 14  # hits that Milvus returns for a query, at most
_TIES = 100  # hits requested beyond those that are wanted, at least
_HITS = 1 << 20  # hits of all queries in one request

Hits = tuple[NDArray[np.int64], NDArray[np.int32]]


@dataclass(frozen=True)
class Searcher:
    """Searches one collection.

    Attributes:
        server: the connection to the collection.
        stop: returns an id above those of all rows.
        condition: the rows that may be found.
        params: search parameters of the index.
    """

    server: Server
    stop: Callable[[], int]
    condition: str
    params: dict[str, int]

    def nearest(self, queries: NDArray[np.uint8], k: int) -> Nearest:
        """Return the k nearest rows of queries (q, bits/8), k below `MOST_HITS`; fewer if there are no more."""
        wide = min(MOST_HITS, k + max(k, _TIES))
        found = [
            self._first(query, hits, k, wide)
            for query, hits in self._searched(queries, self.condition, wide, self.params)
        ]
        width = max((len(ids) for ids, _ in found), default=0)
        ids = np.full((len(queries), width), NO_ID, np.int64)
        distances = np.full((len(queries), width), NO_DISTANCE, np.int32)
        for row, (found_ids, found_distances) in enumerate(found):
            ids[row, : len(found_ids)], distances[row, : len(found_ids)] = found_ids, found_distances
        return Nearest(ids, distances)

    def within(self, queries: NDArray[np.uint8], radius: int) -> Within:
        """Return every row at distance <= radius of queries (q, bits/8)."""
        owners, ids, distances = [], [], []
        params = self._ring(0, radius)
        for row, (query, hits) in enumerate(self._searched(queries, self.condition, MOST_HITS, params)):
            parts = [hits] if len(hits[0]) < MOST_HITS else self._ranges(query, params, 0, self.stop())
            for part_ids, part_distances in parts:
                owners.append(np.full(len(part_ids), row))
                ids.append(part_ids)
                distances.append(part_distances)
        none = np.empty(0, np.int64)
        return Within.sort(len(queries), *(np.concatenate([none, *part]) for part in (owners, ids, distances)))

    def _first(self, query: NDArray[np.uint8], hits: Hits, k: int, wide: int) -> Hits:
        """Return the first k hits of a query, after completing those that tie at the distance of the k-th."""
        ids, distances = hits
        if len(ids) < wide or distances[-1] > distances[k - 1]:
            return ids[:k], distances[:k]
        far = int(distances[-1])
        near = int(np.searchsorted(distances, far))
        tied = ids[near:]
        for range_ids, _ in self._ranges(query, self._ring(far, far), 0, self.stop()):
            tied = np.union1d(tied, range_ids)
            # Once enough ties are known up to the last id of a range, no other ties have smaller ids.
            if len(range_ids) and np.searchsorted(tied, range_ids.max()) + 1 >= k - near:
                break
        return np.concatenate([ids[:near], tied[: k - near]]), distances[:k]

    def _ranges(self, query: NDArray[np.uint8], params: dict[str, int], start: int, stop: int) -> Iterator[Hits]:
        """Yield all hits of a query by ascending ranges of ids."""
        inside = expressions.all_of([self.condition, expressions.between(start, stop)])
        ((_, hits),) = self._searched(query[None], inside, MOST_HITS, params)
        if len(hits[0]) < MOST_HITS:
            yield hits
            return
        middle = (start + stop) // 2
        yield from self._ranges(query, params, start, middle)
        yield from self._ranges(query, params, middle, stop)

    def _ring(self, low: int, high: int) -> dict[str, int]:
        """Return search parameters for distances from low to high; Milvus excludes the outer bound."""
        return {**self.params, "radius": high + 1, "range_filter": low or -1}

    def _searched(
        self, queries: NDArray[np.uint8], condition: str, limit: int, params: dict[str, int]
    ) -> Iterator[tuple[NDArray[np.uint8], Hits]]:
        """Yield queries with their hits, ordered by (distance, id), several queries per request."""
        step = max(1, _HITS // limit)
        for start in range(0, len(queries), step):
            batch = queries[start : start + step]
            for query, hits in zip(
                batch, self.server.search([code.tobytes() for code in batch], condition, limit, params), strict=True
            ):
                ids, distances = np.array(hits.ids, np.int64), np.array(hits.distances, np.int32)
                order = np.lexsort((ids, distances))
                yield query, (ids[order], distances[order])
