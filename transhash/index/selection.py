"""Errors for filters without matches and for refused changes, and the interpretation of paths."""

import os
from collections.abc import Iterable, Mapping, Sequence

from ..codes import texts
from ..errors import SelectionError
from ..system.files import display

_SHOWN = 10  # names in a message


def ways(names: Iterable[str | bytes | os.PathLike[str]], root: bytes) -> dict[bytes, list[bytes]]:
    """Return, for each path, the full paths that it may stand for; the first that is in the collection is used.

    A path is relative to the working directory or, if that is not there, to the folder that was encoded.
    """
    return {
        name: [os.path.abspath(name), os.path.normpath(os.path.join(root, name)), name]
        for name in map(os.fsencode, names)
    }


def no_match(patterns: Sequence[str], example: str) -> SelectionError:
    """Return the error for patterns without a match."""
    return SelectionError(f"no path in the collection matches {listed(patterns)}; {example}")


def no_label(names: Sequence[str]) -> SelectionError:
    """Return the error for labels that no image has."""
    return SelectionError(f"no image in the collection has the label {listed(names)}")


def check_ids(wanted: Sequence[int], known: Iterable[int]) -> None:
    """Raise SelectionError if one of the ids is not known."""
    there = set(known)
    unknown = [id for id in wanted if id not in there]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise SelectionError(f"id {unknown[0]}{more}: not in the collection; it was removed, or never existed")


def chosen(wanted: Mapping[bytes, Sequence[bytes]], there: Mapping[bytes, Sequence[int]], example: str) -> list[int]:
    """Return the ids of the wanted paths, given those of all `ways`. Raises SelectionError if none is found."""
    missing = [display(name) for name, paths in wanted.items() if not any(way in there for way in paths)]
    if missing:
        raise SelectionError(f"not in the collection: {listed(missing)}; {example}")
    return sorted({id for paths in wanted.values() for id in there[next(way for way in paths if way in there)]})


def none_passes() -> SelectionError:
    """Return the error for filters that each match rows, but no row matches all of them."""
    return SelectionError("no image passes all filters, although each matches some; drop one of them")


def already_there(path: str, count: int, where: str = "the collection") -> SelectionError:
    """Return the error for new rows with the paths of `count` rows, of which `path` is the first."""
    more = f" and {count - 1} more are" if count > 1 else " is"
    return SelectionError(
        f"{path}{more} in {where} already; pass --replace (replace=True), or compare: th index sync"
    )


def none_left(count: int, instead: str = "drop its table") -> SelectionError:
    """Return the error for a filter that would remove all `count` rows."""
    return SelectionError(f"all {count} rows would be removed; to delete the collection, {instead}")


def example(root: bytes, path: bytes | None) -> str:
    """Return an example of a path, for messages."""
    inside = f" in {display(root)!r}" if root else ""
    return "" if path is None else f"paths look like {display(texts.place(root, path))!r}{inside}"


def listed(names: Sequence[str]) -> str:
    """Return the first few names, for messages."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more
