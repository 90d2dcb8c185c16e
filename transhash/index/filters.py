"""Filters: which rows of an index a search may find, or an edit takes away, as masks (n,) bool over its rows.

    from transhash import filters

    cats = filters.globs(index, ["cats/*"]) & filters.labels(index, ["cat"])
    index.search(queries, 10, allowed=cats)

Paths are read from the index some thousands at a time, whatever its size. A filter that matches nothing is an error:
most often it is a slip of the pen.
"""

import os
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..codes import Records
from ..codes.records import label_columns
from ..errors import SelectionError
from ..files import display

if TYPE_CHECKING:
    from .index import Index

Mask = NDArray[np.bool_]

_SHOWN = 10  # names in a message


@dataclass(frozen=True)
class Filter:
    """Which rows are meant, whoever keeps them: those that pass each kind that is given, by any of its values.

    A mask is over the rows of an `Index`; a collection on a server takes this instead (`transhash.index.collection`).

    Attributes:
        globs: patterns of paths, see `globs`.
        labels: names of labels, see `labels`.
        ids: numbers of rows, see `ids`; None if this kind is not given.
        paths: images, see `paths`.
    """

    globs: Sequence[str] = ()
    labels: Sequence[str] = ()
    ids: Sequence[int] | None = None
    paths: Sequence[str] = ()


def mask(index: "Index", where: Filter) -> Mask | None:
    """Return the rows that pass a filter, (n,) bool; None if it says nothing.

    Raises SelectionError if one of its kinds names nothing, or no row passes all.
    """
    passed = globs(index, where.globs) if where.globs else None
    passed = both(passed, labels(index, where.labels) if where.labels else None)
    passed = both(passed, ids(index, where.ids) if where.ids is not None else None)
    return both(passed, paths(index, where.paths) if where.paths else None)


def matcher(patterns: Sequence[str], root: bytes) -> Callable[[bytes], bool]:
    """Return what says of a path, relative to `root` unless absolute, whether it matches one of the patterns.

    See `globs` for the patterns.
    """
    absolute = [pattern for pattern in patterns if pattern.startswith("/")]
    whole, below = _pattern(absolute), _pattern([pattern for pattern in patterns if pattern not in absolute])

    def matches(path: bytes) -> bool:
        return bool(
            below.match(path)
            or below.match(os.path.basename(path))
            or (absolute and whole.match(os.path.join(root, path)))
        )

    return matches


def globs(index: "Index", patterns: Sequence[str]) -> Mask:
    """Return the rows whose paths match one of the patterns, (n,) bool.

    Patterns are those of the shell (`fnmatch`: ``*`` stands for slashes, too), with case, for the path below the
    folder that was encoded, or for the name alone, as those of ``th encode --include``. One that begins with ``/`` is
    for the whole path.

    Raises SelectionError if no path matches.
    """
    matches = matcher(patterns, index.records.root)
    found = np.fromiter(map(matches, index.records.paths), np.bool_, len(index))
    if not found.any():
        raise SelectionError(f"no path in the index matches {_listed(patterns)}; {_example(index)}")
    return found


def paths(index: "Index", names: Iterable[str | bytes | os.PathLike[str]]) -> Mask:
    """Return the rows of the given paths, (n,) bool: relative to here or, if that is none, to what was encoded.

    Raises SelectionError if one of them is not in the index.
    """
    root = index.records.root
    wanted = {
        name: (os.path.abspath(name), os.path.normpath(os.path.join(root, name)), name)
        for name in map(os.fsencode, names)
    }
    rows = _rows(index.records, {way for ways in wanted.values() for way in ways})
    found = np.zeros(len(index), np.bool_)
    missing = []
    for name, ways in wanted.items():
        own = next((rows[way] for way in ways if way in rows), None)
        if own is None:
            missing.append(display(name))
        else:
            found[own] = True
    if missing:
        raise SelectionError(f"not in the index: {_listed(missing)}; {_example(index)}")
    return found


def labels(index: "Index", names: Sequence[str]) -> Mask:
    """Return the rows that have one of the labels, (n,) bool.

    Raises SelectionError if the index does not know one of them, or no row has any.
    """
    known = {name: place for place, name in enumerate(index.records.label_names)}
    unknown = [name for name in names if name not in known]
    if unknown or index.records.labels is None:
        there = f"there are: {_listed(list(known))}" if known else "its images have none"
        raise SelectionError(f"no label {_listed(unknown)} in the index; {there}")
    places = np.array([known[name] for name in names])
    found: Mask = np.isin(label_columns(index.records.labels), places).max(axis=1)
    if not found.any():
        raise SelectionError(f"no image in the index has the label {_listed(names)}; all that had it were removed")
    return found


def ids(index: "Index", numbers: Iterable[int]) -> Mask:
    """Return the rows with the given ids, (n,) bool. Raises SelectionError if one of them is not in the index."""
    found = np.zeros(len(index), np.bool_)
    found[index.ids.rows(np.fromiter(numbers, np.int64))] = True
    return found


def both(one: Mask | None, other: Mask | None) -> Mask | None:
    """Return the rows that two filters leave, None standing for no filter. Raises SelectionError if none is left."""
    if one is None or other is None:
        return other if one is None else one
    left = np.logical_and(one, other)
    if not left.any():
        raise SelectionError("no image passes all filters, though some pass each; drop one of them")
    return left


def _rows(records: Records, wanted: Collection[bytes]) -> dict[bytes, list[int]]:
    """Return where the wanted paths, with the root in front, stand: those that are there."""
    rows: dict[bytes, list[int]] = {}
    for row, path in enumerate(records.full_paths()):
        if path in wanted:
            rows.setdefault(path, []).append(row)
    return rows


def _pattern(patterns: Sequence[str]) -> re.Pattern[bytes]:
    """Return what matches one of the patterns, or nothing if there are none."""
    latin = [os.fsencode(pattern).decode("latin-1") for pattern in patterns]  # bytes as letters, one by one
    return re.compile("|".join(map(translate, latin) if latin else ["(?!)"]).encode("latin-1"))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more


def _example(index: "Index") -> str:
    root = f" in {display(index.records.root)!r}" if index.records.root else ""
    return f"paths look like {display(index.records.paths[0])!r}{root}"
