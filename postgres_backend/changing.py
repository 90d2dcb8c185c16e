"""Build, add, remove and sync, each in one transaction: others see all of a change or nothing.

Rows of a codes file go into a temporary table first, where PostgreSQL compares them with those of the collection.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from psycopg import sql

from transhash.codes import Codes, CodesFile, texts
from transhash.codes.models import check_same_model
from transhash.codes.records import nullable
from transhash.errors import BackendError, CodesError
from transhash.index import selection
from transhash.index.rows import Added, Changes
from transhash.system.files import display
from transhash.system.progress import Progress

from . import binary, schema, selecting
from .schema import Contents, Tables
from .selecting import Condition
from .server import Cursor, Server

_STAGED = sql.Identifier("pg_temp", "transhash_staged")
_COLUMNS = sql.SQL("id, code, path, labels, size, mtime")
_SAME_ROW = sql.SQL("r.path = n.path AND r.code = n.code AND r.labels = n.labels")
_LONGEST_LABEL = 2000  # bytes that fit into a GIN index


@contextmanager
def editing(server: Server, tables: Tables) -> Iterator[tuple[Cursor, Contents]]:
    """Yield a cursor and the contents of a collection that nobody else changes until the block ends."""
    with server.transaction(write=True) as cursor:
        contents = schema.read(cursor, tables, server.location, lock=True)
        if contents is None:
            raise BackendError(f"{server.location}: no such collection; it was dropped")
        yield cursor, contents


def build(cursor: Cursor, tables: Tables, contents: Contents, file: CodesFile, report: Progress) -> Contents:
    """Fill a new table, create its indexes, and return its contents."""
    _copy(cursor, sql.Identifier(tables.schema, tables.name), file, 0, report)
    schema.add_indexes(cursor, tables, contents)
    return _written(cursor, tables, replace(contents, next_id=len(file)))


def add(
    cursor: Cursor, tables: Tables, contents: Contents, file: CodesFile, name: str, again: bool, report: Progress
) -> tuple[Contents, Added]:
    """Add the rows of a codes file; with `again`, in place of those that have their paths."""
    check_same_model(file.header.model, contents.model, name, "the collection")
    _stage(cursor, tables, file, contents.next_id, report)
    replaced = 0
    if again:
        cursor.execute(tables.fill("DELETE FROM {rows} WHERE path IN (SELECT path FROM {staged})", staged=_STAGED))
        replaced = cursor.rowcount
    else:
        _check_new(cursor, tables, name)
    cursor.execute(
        tables.fill(
            "INSERT INTO {rows} ({columns}) SELECT {columns} FROM {staged} ORDER BY id",
            columns=_COLUMNS,
            staged=_STAGED,
        )
    )
    return _changed(cursor, tables, contents, file.header.root, len(file)), Added(len(file), replaced)


def remove(cursor: Cursor, tables: Tables, contents: Contents, where: Condition) -> int:
    """Remove the rows that fulfil a condition, and return how many. Raises SelectionError if none would be left."""
    cursor.execute(tables.fill("DELETE FROM {rows} WHERE {where}", where=where.statement), where.values)
    gone = cursor.rowcount
    if not selecting.exists(cursor, tables, Condition()):
        raise selection.none_left(gone)
    _changed(cursor, tables, contents, contents.root, 0)
    return gone


def sync(cursor: Cursor, tables: Tables, contents: Contents, file: CodesFile, report: Progress) -> Changes:
    """Make the collection hold exactly the rows of a codes file; equal rows stay."""
    check_same_model(file.header.model, contents.model, "codes", "the collection")
    _stage(cursor, tables, file, 0, report)
    cursor.execute(
        tables.fill(
            """
            WITH gone AS (
                DELETE FROM {rows} r WHERE NOT EXISTS (SELECT 1 FROM {staged} n WHERE {same}) RETURNING r.path
            ), come AS (
                SELECT * FROM {staged} n WHERE NOT EXISTS (SELECT 1 FROM {rows} r WHERE {same})
            ), added AS (
                INSERT INTO {rows} ({columns})
                SELECT {first} + row_number() OVER (ORDER BY id) - 1, code, path, labels, size, mtime FROM come
            )
            SELECT (SELECT count(*) FROM come), (SELECT count(*) FROM gone),
                   (SELECT count(*) FROM (SELECT path FROM gone INTERSECT SELECT path FROM come) paths)
            """,
            staged=_STAGED,
            same=_SAME_ROW,
            columns=_COLUMNS,
            first=sql.Literal(contents.next_id),
        )
    )
    come, gone, changed = cursor.fetchone() or (0, 0, 0)
    if come or gone:
        _changed(cursor, tables, contents, file.header.root, come)
    return Changes(come - changed, gone - changed, changed)


def _stage(cursor: Cursor, tables: Tables, file: CodesFile, first: int, report: Progress) -> None:
    """Copy the rows of a codes file into a temporary table, with ids from `first` on."""
    cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(_STAGED))
    cursor.execute(  # without the columns that others have added
        tables.fill(
            "CREATE TEMPORARY TABLE {staged} ON COMMIT DROP AS SELECT {columns} FROM {rows} WITH NO DATA",
            staged=_STAGED,
            columns=_COLUMNS,
        )
    )
    _copy(cursor, _STAGED, file, first, report)
    cursor.execute(sql.SQL("ANALYZE {}").format(_STAGED))


def _copy(cursor: Cursor, table: sql.Identifier, file: CodesFile, first: int, report: Progress) -> None:
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(table, _COLUMNS)
    with cursor.copy(statement) as copy:
        copy.write(binary.HEADER)
        for start, block in file.blocks(embeddings=False):
            copy.write(_encoded(block, first + start))
            report(start + len(block), len(file))
        copy.write(binary.TRAILER)


def _encoded(block: Codes, first: int) -> bytes:
    """Return rows as data of a binary COPY. Raises CodesError for a label that is too long."""
    records = block.records
    names = [texts.label(name).encode() for name in records.label_names]
    for name in names:
        if len(name) > _LONGEST_LABEL:
            raise CodesError(
                f"label {display(name[:40])!r}…: {len(name)} bytes, and the index of labels takes {_LONGEST_LABEL}"
            )
    known = dict(zip(records.label_names, names, strict=True))
    labels = [tuple(known[name] for name in records.names(row)) for row in range(len(block))]
    stats = zip(*(nullable(values, len(block)) for values in (records.sizes, records.mtimes)), strict=True)
    paths = [texts.text(path).encode() for path in records.full_paths()]
    ids = np.arange(first, first + len(block), dtype=np.int64)
    return binary.rows(ids, block.packed, paths, labels, stats)


def _check_new(cursor: Cursor, tables: Tables, name: str) -> None:
    """Raise SelectionError if a path of the staged rows is in the collection."""
    cursor.execute(
        tables.fill(
            "SELECT path, count(*) OVER () FROM {rows} WHERE path IN (SELECT path FROM {staged}) ORDER BY id LIMIT 1",
            staged=_STAGED,
        )
    )
    if row := cursor.fetchone():
        raise selection.already_there(f"{name}: {display(texts.path(row[0]))}", row[1])


def _changed(cursor: Cursor, tables: Tables, contents: Contents, root: bytes, count: int) -> Contents:
    """Update the catalog after `count` rows of a root were added; rows of several roots have no common root."""
    if count and root != contents.root:
        contents = replace(contents, root=b"")
    return _written(cursor, tables, replace(contents, next_id=contents.next_id + count, source=""))


def _written(cursor: Cursor, tables: Tables, contents: Contents) -> Contents:
    if contents.type == "hnsw":
        contents = replace(contents, most_equal=schema.most_equal(cursor, tables))
    schema.update(cursor, tables, contents)
    return contents
