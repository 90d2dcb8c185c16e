"""Translate filters to conditions of Milvus or, where it cannot evaluate them, to the ids of the matching rows."""

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from transhash.errors import SelectionError
from transhash.index.filters import Filter, matcher
from transhash.system.files import display

from . import expressions
from .server import PAGE, Server

MAX_IDS = 1_000_000  # in a condition
_SHOWN = 10  # names in a message


def condition(server: Server, where: Filter | None, root: bytes) -> str:
    """Return the condition for a filter.

    Raises SelectionError if one of its fields matches nothing, no row passes all of them, or a pattern that only the
    client can match selects too many rows.
    """
    conditions = list(_kinds(server, where, root)) if where else []
    found = expressions.all_of(conditions)
    if len(conditions) > 1 and not server.count(found):
        raise SelectionError("no image passes all filters, though some pass each; drop one of them")
    return found


def places(root: bytes, path: bytes) -> bytes:
    """Return a stored path as patterns match it: relative to the folder that was encoded, if it is inside that."""
    inside = os.path.join(root, b"") if root else b""
    return path[len(inside) :] if inside and path.startswith(inside) else path


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
            ids += [row["id"] for row in page if matches(places(root, expressions.path(row["path"])))]
            if len(ids) > MAX_IDS:
                raise SelectionError(
                    f"{_listed(patterns)}: matches more than {MAX_IDS:,} images; at that size use patterns such as "
                    "'folder/*', which Milvus evaluates itself"
                )
        found = expressions.one_of("id", ids)
        some = bool(ids)
    else:
        some = server.count(found) > 0
    if not some:
        raise SelectionError(f"no path in the collection matches {_listed(patterns)}; {_example(server, root)}")
    return found


def _labels(server: Server, names: Sequence[str]) -> str:
    unknown = [name for name in names if not server.count(expressions.labelled([name]))]
    if unknown:
        raise SelectionError(f"no image in the collection has the label {_listed(unknown)}")
    return expressions.labelled(names)


def _ids(server: Server, numbers: Sequence[int]) -> str:
    wanted = sorted(set(numbers))
    if len(wanted) > MAX_IDS:
        raise SelectionError(f"{len(wanted):,} ids: pass at most {MAX_IDS:,}")
    known = {row["id"] for some in _some(wanted) for row in server.query(expressions.one_of("id", some), ["id"])}
    unknown = [id for id in wanted if id not in known]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise SelectionError(f"id {unknown[0]}{more}: not in the collection; it was removed, or never existed")
    return expressions.one_of("id", wanted)


def _paths(server: Server, names: Sequence[str], root: bytes) -> str:
    """Return a condition for paths relative to the working directory or else to the folder that was encoded."""
    ways = {
        name: list(map(expressions.text, (os.path.abspath(name), os.path.normpath(os.path.join(root, name)), name)))
        for name in map(os.fsencode, names)
    }
    ids: dict[str, list[int]] = {}
    for some in _some(sorted({way for own in ways.values() for way in own})):
        for row in server.query(expressions.one_of("path", some), ["id", "path"]):
            ids.setdefault(row["path"], []).append(row["id"])
    missing = [display(name) for name, own in ways.items() if not any(way in ids for way in own)]
    if missing:
        raise SelectionError(f"not in the collection: {_listed(missing)}; {_example(server, root)}")
    found = {id for own in ways.values() for id in ids[next(way for way in own if way in ids)]}
    return expressions.one_of("id", sorted(found))


def _some(values: list[Any]) -> Iterable[list[Any]]:
    return (values[start : start + PAGE] for start in range(0, len(values), PAGE))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more


def _example(server: Server, root: bytes) -> str:
    rows = server.query(expressions.EVERYTHING, ["path"], limit=1)
    inside = f" in {display(root)!r}" if root else ""
    return f"paths look like {display(places(root, expressions.path(rows[0]['path'])))!r}{inside}" if rows else ""
