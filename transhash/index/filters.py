"""Filters: the rows that a search may find or an edit removes.

A `Filter` names rows by patterns of paths, labels, ids and paths, in a folder or on a server. For an index in this
process it becomes a mask (n,) bool over the rows. Paths are read a few thousand at a time. A filter that matches
nothing raises SelectionError, since it is usually a typo; but an empty list of ids, which a program may have
computed, selects no row.
"""

import operator
import os
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import translate
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from ..codes import Records
from ..codes.records import label_columns
from ..errors import SelectionError
from ..system.files import display
from . import selection

if TYPE_CHECKING:
    from .ids import RowIds

Mask = NDArray[np.bool_]


class Rows(Protocol):
    """Rows in memory: their paths and labels, and their ids."""

    @property
    def records(self) -> Records:
        """Paths and labels."""

    @property
    def ids(self) -> "RowIds":
        """Ids."""

    @property
    def root(self) -> bytes:
        """The folder that paths are relative to."""

    def find(self, paths: set[bytes]) -> dict[bytes, list[int]]:
        """Return the rows with the given full paths."""

    def __len__(self) -> int:
        """Return the number of rows."""


_LONGEST = 40  # characters of an id in a message
_MAX_ID = (1 << 63) - 2  # the id of the next row, which is above all others, fits into int64


@dataclass(frozen=True)
class Filter:
    """Selects images: values of one field are ORed, different fields are ANDed.

    A single text counts as a list of one.

    Attributes:
        globs: patterns of paths, such as ``cats/*`` or ``*.png``; see `globs`.
        labels: names of labels.
        ids: ids of images; None for any, an empty list for no image.
        paths: paths of images, as seen from the working directory, or as the index shows them.

    Raises TypeError if a field holds something else; SelectionError for an id that no image can have.
    """

    globs: Sequence[str] = ()
    labels: Sequence[str] = ()
    ids: Sequence[int] | None = None
    paths: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check the fields, and turn single values into tuples."""
        for name in ("globs", "labels", "paths"):
            object.__setattr__(self, name, _texts(name, getattr(self, name)))
        if self.ids is not None:
            object.__setattr__(self, "ids", tuple(checked_ids(self.ids).tolist()))


def checked_ids(ids: Any) -> NDArray[np.int64]:
    """Return ids as an array (m,) int64.

    Raises TypeError if they are not whole numbers; SelectionError for one that no image can have.
    """
    if isinstance(ids, np.ndarray):
        ids = np.atleast_1d(ids)
        if ids.ndim == 1 and ids.dtype == np.int64:
            return ids
    numbers = [_whole(id) for id in (ids if isinstance(ids, Iterable) else (ids,))]
    for number in numbers:
        if not 0 <= number <= _MAX_ID:
            raise SelectionError(f"id {_shortened(str(number))}: ids are from 0 to {_MAX_ID}")
    return np.array(numbers, np.int64)


def _whole(id: Any) -> int:
    """Return an id as an integer. Raises TypeError."""
    try:
        if not isinstance(id, bool | np.bool_):
            return operator.index(id)
    except TypeError:
        raise TypeError(f"ids must be integers, such as 7 or [7, 9], not {type(id).__name__}") from None
    raise TypeError("ids must be integers, such as 7 or [7, 9], not bool; for a mask, pass np.flatnonzero(mask)")


def parse_ids(lines: Iterable[str], name: str) -> list[int]:
    """Return the ids that the lines of a file list, one per line; `name` is that of the file.

    Raises SelectionError for a line that is not an id.
    """
    ids = []
    for number, line in enumerate(lines, start=1):
        text = line.strip().removeprefix("\ufeff")
        if not (text.isascii() and text.isdecimal()) or len(text.lstrip("0")) > len(str(_MAX_ID)):
            raise SelectionError(
                f"{name}: line {number}: {_shortened(text)!r} is not an id; write one number per line"
            )
        ids.append(int(text.lstrip("0") or "0"))
    checked_ids(ids)
    return ids


def _texts(name: str, values: Any) -> tuple[str, ...]:
    """Return a text, or several, as a tuple; for paths also objects with a path. Raises TypeError."""
    several = [values] if isinstance(values, str | bytes | os.PathLike) else values
    if isinstance(several, Iterable):
        found = tuple(_text(name, value) for value in several)
        if None not in found:
            return cast("tuple[str, ...]", found)
    raise TypeError(f"{name} must be a string or a list of strings, not {type(values).__name__}")


def _text(name: str, value: Any) -> str | None:
    if name == "paths" and isinstance(value, bytes | os.PathLike):
        return os.fsdecode(value)
    return value if isinstance(value, str) else None


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def mask(index: Rows, where: Filter) -> Mask | None:
    """Return the rows that pass a filter, (n,) bool; None if the filter is empty.

    Raises SelectionError if one of its fields matches nothing, or no row passes all.
    """
    passed = globs(index, where.globs) if where.globs else None
    passed = both(passed, labels(index, where.labels) if where.labels else None)
    passed = both(passed, ids(index, where.ids) if where.ids is not None else None)
    return both(passed, paths(index, where.paths) if where.paths else None)


def any_of(index: Rows, where: Sequence[Filter]) -> Mask:
    """Return the rows that pass at least one of the filters, (n,) bool. Raises SelectionError."""
    passed = np.zeros(len(index), np.bool_)
    for one in where:
        found = mask(index, one)
        passed |= True if found is None else found
    return passed


def matcher(patterns: Sequence[str], root: bytes) -> Callable[[bytes], bool]:
    """Return a function that says whether a path, relative to `root` unless absolute, matches one of the patterns.

    See `globs` for the patterns.
    """
    absolute = [pattern for pattern in patterns if pattern.startswith("/")]
    relative = [pattern for pattern in patterns if pattern not in absolute]
    whole, below = _pattern(absolute), _pattern(relative)
    anywhere = _pattern([f"*/{pattern}" for pattern in relative])

    def matches(path: bytes) -> bool:
        return bool(
            below.match(path)
            or below.match(os.path.basename(path))
            or (path.startswith(b"/") and anywhere.match(path))
            or (absolute and whole.match(os.path.join(root, path)))
        )

    return matches


def globs(index: Rows, patterns: Sequence[str]) -> Mask:
    """Return the rows whose paths match one of the patterns, (n,) bool.

    Patterns are those of the shell, case-sensitive; ``*`` also matches slashes (`fnmatch`). They are compared with
    the path below the folder that was encoded, and with the file name, like those of ``th encode --include``. A
    pattern that begins with ``/`` is compared with the whole path. In an index of images from several folders,
    paths are absolute, and a pattern may match starting at any folder of the path.

    Raises SelectionError if no path matches.
    """
    matches = matcher(patterns, index.records.root)
    found = np.fromiter(map(matches, index.records.paths), np.bool_, len(index))
    if not found.any():
        raise SelectionError(f"no path in the index matches {selection.listed(patterns)}; {_example(index)}")
    return found


def paths(index: Rows, names: Iterable[str | bytes | os.PathLike[str]]) -> Mask:
    """Return the rows with the paths, (n,) bool.

    A path may be relative to the working directory or to the folder that was encoded.

    Raises SelectionError if one of them is not in the index.
    """
    wanted = selection.ways(names, index.root)
    rows = index.find({way for ways in wanted.values() for way in ways})
    found = np.zeros(len(index), np.bool_)
    missing = []
    for name, ways in wanted.items():
        matching = next((rows[way] for way in ways if way in rows), None)
        if matching is None:
            missing.append(display(name))
        else:
            found[matching] = True
    if missing:
        raise SelectionError(f"not in the index: {selection.listed(missing)}; {_example(index)}")
    return found


def labels(index: Rows, names: Sequence[str]) -> Mask:
    """Return the rows that have one of the labels, (n,) bool.

    Raises SelectionError if one of them is not in the index, or no row has any.
    """
    known = {name: place for place, name in enumerate(index.records.label_names)}
    unknown = [name for name in names if name not in known]
    if unknown or index.records.labels is None:
        known_labels = f"available: {selection.listed(list(known))}" if known else "its images have none"
        raise SelectionError(f"no label {selection.listed(unknown)} in the index; {known_labels}")
    places = np.array([known[name] for name in names])
    found: Mask = np.isin(label_columns(index.records.labels), places).max(axis=1)
    if not found.any():
        raise SelectionError(
            f"no image in the index has the label {selection.listed(names)}; all such images were removed"
        )
    return found


def ids(index: Rows, numbers: Iterable[int]) -> Mask:
    """Return the rows with the ids, (n,) bool. Raises SelectionError if one of them is not in the index."""
    found = np.zeros(len(index), np.bool_)
    found[index.ids.rows(checked_ids(numbers))] = True
    return found


def both(one: Mask | None, other: Mask | None) -> Mask | None:
    """Return the rows that pass two filters; None stands for no filter.

    Raises SelectionError if each selects rows, but none passes both.
    """
    if one is None or other is None:
        return other if one is None else one
    left = np.logical_and(one, other)
    if not left.any() and one.any() and other.any():
        raise selection.none_passes()
    return left


def rows_of(records: Records, wanted: Collection[bytes]) -> dict[bytes, list[int]]:
    """Return the rows with the given full paths, by reading all paths."""
    rows: dict[bytes, list[int]] = {}
    for row, path in enumerate(records.full_paths()):
        if path in wanted:
            rows.setdefault(path, []).append(row)
    return rows


def _pattern(patterns: Sequence[str]) -> re.Pattern[bytes]:
    """Return a regular expression that matches any of the patterns, or None without patterns."""
    latin = [os.fsencode(pattern).decode("latin-1") for pattern in patterns]  # one character for each byte
    return re.compile("|".join(map(translate, latin) if latin else ["(?!)"]).encode("latin-1"))


def _example(index: Rows) -> str:
    return selection.example(index.records.root, index.records.paths[0])
