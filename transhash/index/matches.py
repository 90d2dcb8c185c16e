"""The answers of a search: the matches of each query, with their paths and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from ..errors import PositionError, TransHashError
from ..results import NO_DISTANCE, NO_ID, Nearest, Within
from ..system.arguments import checked
from .rows import Row
from .verdicts import Verdicts

if TYPE_CHECKING:
    import pandas
    import PIL.Image

_DRAWN = 100  # queries
_LOOKUP = 10_000  # rows whose paths are looked up at a time


@dataclass(frozen=True, slots=True)
class Match:
    """An image that a search found.

    Attributes:
        path: the image's path.
        distance: number of bits in which its code differs from the query's.
        id: the image's id in the index.
        labels: its labels; empty if it has none.
        score: re-ranking score, from -1 to 1; None without re-ranking.
        verdict: ``"copy"``, ``"likely"`` (a copy) or ``"unrelated"``; None if the model does not say how near
            unrelated images come.
    """

    path: str
    distance: int
    id: int
    labels: tuple[str, ...] = ()
    score: float | None = None
    verdict: str | None = None


Lookup = Callable[[NDArray[np.int64]], list[Row]]


@dataclass(eq=False, repr=False, slots=True)
class Matches:
    """The matches of each query, nearest first; equal distances are ordered by id.

    ``matches[0]`` is the list of `Match` of the first query, ``len(matches)`` the number of queries. The matches of
    query ``i`` are at ``offsets[i]`` to ``offsets[i + 1]`` of the arrays.

    Attributes:
        queries: the path of each query image, or its position if it has no path.
        offsets: (q + 1,) int64.
        ids: (total,) int64, ids in the index.
        distances: (total,) int32, differing bits.
        scores: (total,) float64 from re-ranking, highest first; None without re-ranking.
        skipped: (path, reason) of each query image that could not be read.
        verdicts: the meaning of distances; None if it is unknown for the model.
        radius: largest distance of matches in bits; None if the nearest were returned at any distance.
    """

    queries: Sequence[str]
    offsets: NDArray[np.int64]
    ids: NDArray[np.int64]
    distances: NDArray[np.int32]
    lookup: Lookup = field(repr=False)
    scores: NDArray[np.float64] | None = None
    skipped: Sequence[tuple[str, str]] = ()
    verdicts: Verdicts | None = None
    radius: int | None = None
    _rows: dict[int, Row] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def of(
        cls,
        found: Nearest | Within,
        lookup: Lookup,
        queries: Sequence[str],
        skipped: Sequence[tuple[str, str]] = (),
        k: int | None = None,
        verdicts: Verdicts | None = None,
        radius: int | None = None,
    ) -> Matches:
        """Return the answers of a search whose ids are those of the index.

        There are at most `k` for each query, and none beyond a `radius`.
        """
        if isinstance(found, Nearest):
            ids, distances, scores = found.ids, found.distances, getattr(found, "scores", None)
            if k is not None and ids.shape[1] > k:
                ids, distances, scores = ids[:, :k], distances[:, :k], None if scores is None else scores[:, :k]
            if radius is None and _full(ids):
                flat = None if scores is None else scores.ravel()
                offsets = _ends(len(ids), ids.shape[1])
                return cls(queries, offsets, ids.ravel(), distances.ravel(), lookup, flat, skipped, verdicts, radius)
            chosen = ids != NO_ID
            if radius is not None:
                chosen &= distances <= radius
            counts = chosen.sum(axis=1)
            parts = ids[chosen], distances[chosen], None if scores is None else scores[chosen]
        else:
            counts = np.diff(found.offsets)
            place = np.arange(len(found.ids)) - np.repeat(found.offsets[:-1], counts)
            kept = slice(None) if k is None else place < k
            counts = counts if k is None else counts.clip(max=k)
            parts = found.ids[kept], found.distances[kept], None
        offsets = np.zeros(len(found) + 1, np.int64)
        np.cumsum(counts, out=offsets[1:])
        return cls(queries, offsets, parts[0], parts[1], lookup, parts[2], skipped, verdicts, radius)

    def __len__(self) -> int:
        """Return the number of queries."""
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, query: int) -> list[Match]: ...
    @overload
    def __getitem__(self, query: slice) -> list[list[Match]]: ...
    @checked
    def __getitem__(self, query: int | slice) -> list[Match] | list[list[Match]]:
        """Return the matches of a query, nearest first; of a slice, a list of these.

        Raises PositionError, which is an IndexError, if there is no such query; SelectionError if an image has been
        removed from the server since the search.
        """
        if isinstance(query, slice):
            return [self[place] for place in range(*query.indices(len(self)))]
        place = self._place(query)
        start, stop = self.offsets[place], self.offsets[place + 1]
        ids = self.ids[start:stop].tolist()
        if any(id not in self._rows for id in ids):
            self._look_up(place)
        scores = [None] * len(ids) if self.scores is None else self.scores[start:stop].tolist()
        verdict_of = self.verdicts.verdict if self.verdicts else lambda distance: None
        return [
            Match(self._rows[id].path, distance, id, self._rows[id].labels, score, verdict_of(distance))
            for id, distance, score in zip(ids, self.distances[start:stop].tolist(), scores, strict=True)
        ]

    def __iter__(self) -> Iterator[list[Match]]:
        """Yield the matches of each query."""
        return (self[query] for query in range(len(self)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy the matches with their paths and labels, without the index."""
        rows = _Known(dict(zip(self.ids.tolist(), self.lookup(self.ids), strict=True)))
        parts = self.queries, self.offsets, self.ids, self.distances, rows
        return Matches, (*parts, self.scores, self.skipped, self.verdicts, self.radius)

    def __repr__(self) -> str:
        """Return one line: the numbers of queries and matches."""
        queries, found = len(self), len(self.ids)
        return f"<Matches: {queries} quer{'y' if queries == 1 else 'ies'}, {found} match{'' if found == 1 else 'es'}>"

    @checked
    def row(self, query: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return the ids and distances of a query's matches, without looking up paths."""
        place = self._place(query)
        part = slice(self.offsets[place], self.offsets[place + 1])
        return self.ids[part], self.distances[part]

    def padded(self) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return distances (q, m) int32 and ids (q, m) int64, where m is the largest number of matches of a query.

        Where a query has fewer, its row ends in ids of -1 and distances of 2147483647.
        """
        counts = np.diff(self.offsets)
        filled = np.arange(counts.max(initial=0)) < counts[:, None]
        ids = np.full(filled.shape, NO_ID, np.int64)
        distances = np.full(filled.shape, NO_DISTANCE, np.int32)
        ids[filled], distances[filled] = self.ids, self.distances
        return distances, ids

    def to_image(self) -> PIL.Image.Image:
        """Draw a contact sheet: at most 100 queries with 11 matches each; unreadable images are grey."""
        from ..report.sheet import MOST, Strip, Thumbnail, draw  # loads Pillow

        strips = []
        for query, path in enumerate(self.queries[:_DRAWN]):
            matches = [Thumbnail(match.path, _caption(match)) for match in self[query][: MOST - 1]]
            strips.append(Strip([Thumbnail(path, "query"), *matches]))
        return draw(strips)

    @checked
    def write_html(self, path: str | Path) -> None:
        """Draw the queries with their matches as an HTML page with thumbnails, written atomically.

        At most 100 matches of a query are drawn, and 1,000 in all. Raises OutputError if `path` exists and is not
        an earlier page.
        """
        from ..report.gallery import MOST, Tile, write_matches  # loads Pillow and Jinja

        found = [
            [Tile(match.path, match.distance, match.labels, verdict=match.verdict) for match in self[query]]
            for query in range(min(len(self), MOST))
        ]
        write_matches(Path(path), self.queries, found)

    def to_pandas(self) -> pandas.DataFrame:
        """Return a table with a row per match: query, rank, distance, id, labels, path; score and verdict if any.

        Raises TransHashError if pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise TransHashError(f"to_pandas needs pandas ({error}): pip install pandas") from None
        rows = [
            (
                self.queries[query],
                rank,
                match.distance,
                match.id,
                match.labels,
                match.path,
                match.score,
                match.verdict,
            )
            for query, found in enumerate(self)
            for rank, match in enumerate(found, start=1)
        ]
        columns = ["query", "rank", "distance", "id", "labels", "path", "score", "verdict"]
        missing = [name for name, known in (("score", self.scores), ("verdict", self.verdicts)) if known is None]
        return pandas.DataFrame(rows, columns=columns).drop(columns=missing)

    def _place(self, query: int) -> int:
        """Return the position of a query; negative ones count from the end."""
        if not -len(self) <= query < len(self):
            raise PositionError(f"query {query} does not exist: {len(self)} in all, numbered from 0")
        return query % len(self)

    def _look_up(self, place: int) -> None:
        """Look up the rows of a query, and of those after it."""
        start = self.offsets[place]
        last = int(np.searchsorted(self.offsets, start + _LOOKUP, side="right")) - 1
        found = self.ids[start : self.offsets[max(place + 1, last)]]
        ids, _ = np.unique(found, return_counts=True)  # without counts, numpy would load numpy.ma
        self._rows.update(zip(ids.tolist(), self.lookup(ids), strict=True))


@dataclass(frozen=True)
class _Known:
    """A lookup of rows that have been looked up before."""

    rows: dict[int, Row]

    def __call__(self, ids: NDArray[np.int64]) -> list[Row]:
        return [self.rows[id] for id in ids.tolist()]


def _full(ids: NDArray[np.int64]) -> bool:
    """Return whether every row of ids (q, m) is filled, at least one of them."""
    if len(ids) == 1:  # the most common case, without the cost of numpy's functions
        return ids.size > 0 and ids.item(-1) != NO_ID
    return ids.size > 0 and bool((ids[:, -1] != NO_ID).all())


def _ends(queries: int, k: int) -> NDArray[np.int64]:
    """Return the offsets (q + 1,) of matches of which each query has `k`."""
    return _end(k) if queries == 1 else np.arange(0, queries * k + 1, k)


@lru_cache(maxsize=16)
def _end(k: int) -> NDArray[np.int64]:
    offsets = np.array((0, k))
    offsets.flags.writeable = False  # all answers of one query share it
    return offsets


def _caption(match: Match) -> str:
    bits = f"{match.distance} bit{'' if match.distance == 1 else 's'}"
    return f"{bits}: {match.verdict}" if match.verdict else bits
