"""Filters as conditions of SQL: every value is a parameter."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from transhash.codes import texts
from transhash.index import selection
from transhash.index.filters import Filter, matcher

from .schema import Tables
from .server import Cursor, streamed

# A path as patterns see it (`texts.place`), its last part, and any part of a path that lies outside the root.
_PLACE = sql.SQL("CASE WHEN %s <> '' AND starts_with(path, %s) THEN substr(path, %s) ELSE path END LIKE %s")
_NAME = sql.SQL("split_part(path, '/', -1) LIKE %s")
_ANYWHERE = sql.SQL("starts_with(path, '/') AND NOT (%s <> '' AND starts_with(path, %s)) AND path LIKE %s")


@dataclass(frozen=True)
class Condition:
    """What follows ``WHERE``, and its parameters."""

    statement: sql.Composable = field(default_factory=lambda: sql.SQL("true"))
    values: Sequence[Any] = ()

    @property
    def any(self) -> bool:
        """Whether every row passes."""
        return self.statement == Condition().statement

    @classmethod
    def joined(cls, how: str, conditions: Iterable["Condition"]) -> "Condition":
        """Return conditions joined by AND or OR; at least one."""
        parts = list(conditions)
        statement = sql.SQL(" OR " if how == "OR" else " AND ").join(
            sql.SQL("({})").format(part.statement) for part in parts
        )
        return cls(statement, [value for part in parts for value in part.values])


def condition(cursor: Cursor, tables: Tables, root: bytes, where: Filter | None) -> Condition:
    """Return the condition that a filter stands for.

    Raises SelectionError if one of its fields matches nothing, or no row passes all.
    """
    found = list(_fields(cursor, tables, root, where)) if where else []
    if not found:
        return Condition()
    both = Condition.joined("AND", found)
    if where and where.ids != () and len(found) > 1 and not exists(cursor, tables, both):
        raise selection.none_passes()
    return both


def exists(cursor: Cursor, tables: Tables, where: Condition) -> bool:
    """Return whether a row fulfils a condition."""
    cursor.execute(tables.fill("SELECT 1 FROM {rows} WHERE {where} LIMIT 1", where=where.statement), where.values)
    return cursor.fetchone() is not None


def count(cursor: Cursor, tables: Tables, where: Condition) -> int:
    """Return how many rows fulfil a condition."""
    cursor.execute(tables.fill("SELECT count(*) FROM {rows} WHERE {where}", where=where.statement), where.values)
    (found,) = cursor.fetchone() or (0,)
    return int(found)


def with_ids(ids: Sequence[int]) -> Condition:
    """Return the condition that a row has one of the ids."""
    return Condition(sql.SQL("id = ANY(%s::bigint[])"), [list(ids)])


def like(pattern: str, root: bytes) -> Condition | None:
    """Return the paths that match a pattern (`transhash.index.filters`); None if LIKE cannot tell.

    It can where ``*`` is the pattern's only wildcard: the others compare bytes, and LIKE characters.
    """
    if "?" in pattern or "[" in pattern or not texts.is_plain(pattern):
        return None
    wanted = pattern.translate({ord("\\"): "\\\\", ord("%"): "\\%", ord("_"): "\\_", ord("*"): "%"})
    if pattern.startswith("/"):
        return Condition(sql.SQL("path LIKE %s"), [wanted])
    inside = texts.text(os.path.join(root, b"")) if root else ""
    ways = [Condition(_PLACE, [inside, inside, len(inside) + 1, wanted])]
    if "/" not in pattern:
        ways.append(Condition(_NAME, [wanted]))
    ways.append(Condition(_ANYWHERE, [inside, inside, "%/" + wanted]))
    return Condition.joined("OR", ways)


def _fields(cursor: Cursor, tables: Tables, root: bytes, where: Filter) -> Iterator[Condition]:
    if where.globs:
        yield _globs(cursor, tables, root, where.globs)
    if where.labels:
        yield _labels(cursor, tables, where.labels)
    if where.ids is not None:
        wanted = sorted(set(where.ids))
        cursor.execute(tables.fill("SELECT id FROM {rows} WHERE id = ANY(%s::bigint[])"), [wanted])
        selection.check_ids(wanted, (id for (id,) in cursor))
        yield with_ids(wanted)
    if where.paths:
        yield _paths(cursor, tables, root, where.paths)


def _globs(cursor: Cursor, tables: Tables, root: bytes, patterns: Sequence[str]) -> Condition:
    ways = [like(pattern, root) for pattern in patterns]
    if None in ways:
        matches, ids = matcher(patterns, root), list[int]()
        for id, path in streamed(cursor, tables.fill("SELECT id, path FROM {rows}")):
            if matches(texts.place(root, texts.path(path))):
                ids.append(id)
        found = with_ids(ids)
    else:
        found = Condition.joined("OR", filter(None, ways))
    if not exists(cursor, tables, found):
        raise selection.no_match(patterns, _example(cursor, tables, root))
    return found


def _labels(cursor: Cursor, tables: Tables, names: Sequence[str]) -> Condition:
    def having(wanted: Sequence[str]) -> Condition:
        return Condition(sql.SQL("labels && %s::text[]"), [[texts.label(name) for name in wanted]])

    unknown = [name for name in names if not exists(cursor, tables, having([name]))]
    if unknown:
        raise selection.no_label(unknown)
    return having(names)


def _paths(cursor: Cursor, tables: Tables, root: bytes, names: Sequence[str]) -> Condition:
    wanted = selection.ways(names, root)
    stored = sorted({texts.text(way) for ways in wanted.values() for way in ways})
    there: dict[bytes, list[int]] = {}
    for id, path in cursor.execute(tables.fill("SELECT id, path FROM {rows} WHERE path = ANY(%s::text[])"), [stored]):
        there.setdefault(texts.path(path), []).append(id)
    return with_ids(selection.chosen(wanted, there, _example(cursor, tables, root)))


def _example(cursor: Cursor, tables: Tables, root: bytes) -> str:
    row = cursor.execute(tables.fill("SELECT path FROM {rows} LIMIT 1")).fetchone()
    return selection.example(root, texts.path(row[0]) if row else None)
