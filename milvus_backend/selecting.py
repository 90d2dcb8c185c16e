"""Translate filters to conditions of Milvus or, where it cannot evaluate them, to the ids of the matching rows."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from transhash.codes import texts
from transhash.errors import SelectionError
from transhash.index import selection
from transhash.index.filters import Filter, matcher

from . import expressions
from .server import PAGE, Server

MAX_IDS = 1_000_000  # ids in one condition


def condition(server: Server, where: Filter | None, root: bytes) -> str:
    """Return the condition for a filter.

    Raises SelectionError if one of its fields matches nothing, no row passes all of them, or a pattern that only the
    client can match selects too many rows.
    """
    conditions = list(_kinds(server, where, root)) if where else []
    found = expressions.all_of(conditions)
    if where and where.ids != () and len(conditions) > 1 and not server.count(found):
        raise selection.none_passes()
    return found


def _kinds(server: Server, where: Filter, root: bytes) -> Iterator[str]:
    if where.globs:
        yield _globs(server, where.globs, root)
    if where.labels:
        yield _labels(server, where.labels)
    if where.ids is not None:
        yield _ids(server, where.ids)
    if where.paths:
        yield _paths(server, where.paths, root)


def _globs(server: Server, patterns: Sequence[str], root: bytes) -> str:
    found = expressions.matching(patterns, root)
    if found is None:
        matches, ids = matcher(patterns, root), list[int]()
        for page in server.pages(expressions.EVERYTHING, ["id", "path"]):
            ids += [row["id"] for row in page if matches(texts.place(root, texts.path(row["path"])))]
            if len(ids) > MAX_IDS:
                raise SelectionError(
                    f"{selection.listed(patterns)}: matches more than {MAX_IDS:,} images; at that size use patterns "
                    "such as 'folder/*', which Milvus evaluates itself"
                )
        found = expressions.one_of("id", ids)
        matches_any = bool(ids)
    else:
        matches_any = server.count(found) > 0
    if not matches_any:
        raise selection.no_match(patterns, _example(server, root))
    return found


def _labels(server: Server, names: Sequence[str]) -> str:
    unknown = [name for name in names if not server.count(expressions.labelled([name]))]
    if unknown:
        raise selection.no_label(unknown)
    return expressions.labelled(names)


def _ids(server: Server, numbers: Sequence[int]) -> str:
    wanted = sorted(set(numbers))
    if len(wanted) > MAX_IDS:
        raise SelectionError(f"{len(wanted):,} ids: pass at most {MAX_IDS:,}")
    found = (server.query(expressions.one_of("id", chunk), ["id"]) for chunk in _chunks(wanted))
    selection.check_ids(wanted, (row["id"] for rows in found for row in rows))
    return expressions.one_of("id", wanted)


def _paths(server: Server, names: Sequence[str], root: bytes) -> str:
    """Return a condition for paths relative to the working directory or else to the folder that was encoded."""
    wanted = selection.ways(names, root)
    there: dict[bytes, list[int]] = {}
    for chunk in _chunks(sorted({texts.text(way) for ways in wanted.values() for way in ways})):
        for row in server.query(expressions.one_of("path", chunk), ["id", "path"]):
            there.setdefault(texts.path(row["path"]), []).append(row["id"])
    return expressions.one_of("id", selection.chosen(wanted, there, _example(server, root)))


def _chunks(values: list[Any]) -> Iterable[list[Any]]:
    return (values[start : start + PAGE] for start in range(0, len(values), PAGE))


def _example(server: Server, root: bytes) -> str:
    rows = server.query(expressions.EVERYTHING, ["path"], limit=1)
    return selection.example(root, texts.path(rows[0]["path"]) if rows else None)
