"""Nearest and near rows in the order of (distance, id): through pgvector's index, or by comparing every row.

The index is used for the nearest rows of a whole collection, unless reading this is faster. ``WITH TIES``
returns all rows that tie with the k-th, from which those with the lowest ids are taken. With a filter or a radius
every row that may be found is compared. Then the distance is cast, so that no index can order by it. Many queries at
once compare the codes here: they are read once, where PostgreSQL would read the table for each query.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import LiteralString

import numpy as np
from numpy.typing import NDArray

from transhash.index import scanning
from transhash.results import Nearest, Within

from . import binary
from .binary import Bits
from .schema import Tables
from .selecting import Condition
from .server import Cursor

SCANNED = 10_000  # rows that are read in less time than an index takes for a query; measured
_MANY_QUERIES = 4  # queries from which on the codes are read once instead
_BLOCK = 1 << 16  # codes compared at a time
_MOST_EF = 1000  # the largest ef_search that pgvector accepts
_SETTINGS = {"ivf": ("ivfflat", "probes", "relaxed_order"), "hnsw": ("hnsw", "ef_search", "strict_order")}

_COMPARED: LiteralString = """
    SELECT id, distance FROM (SELECT id, (code {distance} %s)::int AS distance FROM {rows} WHERE {where}) compared
"""
_INDEXED: LiteralString = """
    SELECT id, (code {distance} %s)::int FROM {rows} ORDER BY code {distance} %s FETCH FIRST %s ROWS WITH TIES
"""


@dataclass(frozen=True)
class Searcher:
    """Searches of one collection in one transaction.

    Attributes:
        cursor: the cursor of the transaction.
        tables: the collection's tables.
        where: the condition that matches must fulfil.
        index: its type and search parameter, if the index may be used.
    """

    cursor: Cursor
    tables: Tables
    where: Condition
    index: tuple[str, int] | None = None

    def nearest(self, queries: NDArray[np.uint8], k: int) -> Nearest:
        """Return the k nearest rows of queries (q, bits/8); fewer if there are no more."""
        if self.index and len(queries) * SCANNED < self._count():
            self._configure(*self.index, k)
            found = [self._indexed(Bits(query.tobytes()), k) for query in queries]
            if all(len(ids) == k for ids, _ in found):  # a scan of HNSW ends after hnsw.max_scan_tuples
                return scanning.padded(found)
        if len(queries) >= _MANY_QUERIES:
            return scanning.nearest(self._codes(queries.shape[1]), queries, k)
        found = []
        for query in queries:
            statement = self.tables.fill(_COMPARED + "ORDER BY distance, id LIMIT %s", where=self.where.statement)
            self.cursor.execute(statement, [Bits(query.tobytes()), *self.where.values, k], binary=True)
            found.append(_columns(self.cursor))
        return scanning.padded(found)

    def within(self, queries: NDArray[np.uint8], radius: int) -> Within:
        """Return every row at distance <= radius of queries (q, bits/8)."""
        if len(queries) >= _MANY_QUERIES:
            return scanning.within(self._codes(queries.shape[1]), queries, radius)
        owners, ids, distances = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.int32)]
        for row, query in enumerate(queries):
            statement = self.tables.fill(_COMPARED + "WHERE distance <= %s", where=self.where.statement)
            self.cursor.execute(statement, [Bits(query.tobytes()), *self.where.values, radius], binary=True)
            query_ids, query_distances = _columns(self.cursor)
            owners.append(np.full(len(query_ids), row))
            ids.append(query_ids)
            distances.append(query_distances)
        return Within.sort(len(queries), np.concatenate(owners), np.concatenate(ids), np.concatenate(distances))

    def _count(self) -> int:
        """Return the approximate number of rows, from PostgreSQL's statistics."""
        self.cursor.execute(
            "SELECT c.reltuples FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relname = %s",
            [self.tables.schema, self.tables.name],
        )
        (found,) = self.cursor.fetchone() or (0,)
        return int(found)

    def _indexed(self, query: Bits, k: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        self.cursor.execute(self.tables.fill(_INDEXED), [query, query, k], binary=True)
        ids, distances = _columns(self.cursor)
        order = np.lexsort((ids, distances))[:k]
        return ids[order], distances[order]

    def _configure(self, kind: str, value: int, k: int) -> None:
        """Set search parameters for the rest of the transaction; scans continue until they find k rows."""
        extension, name, iterative = _SETTINGS[kind]
        settings = {
            f"{extension}.{name}": str(min(max(value, k), _MOST_EF) if kind == "hnsw" else value),
            f"{extension}.iterative_scan": iterative,
        }
        for setting, text in settings.items():
            self.cursor.execute("SELECT set_config(%s, %s, true)", [setting, text])

    def _codes(self, width: int) -> Iterator[scanning.Block]:
        """Yield ids and codes of the rows that may be found."""
        statement = self.tables.fill(
            "COPY (SELECT id, code FROM {rows} WHERE ({where}) AND %s) TO STDOUT (FORMAT BINARY)",
            where=self.where.statement,
        )
        # one parameter at least, or psycopg would not take "%%" in names for "%"
        with self.cursor.copy(statement, [*self.where.values, True]) as copy:
            yield from binary.codes(copy, width, _BLOCK)


def _columns(cursor: Cursor) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the ids and distances that a query found."""
    rows = np.array(cursor.fetchall(), np.int64).reshape(-1, 2)
    return rows[:, 0], rows[:, 1].astype(np.int32)
