"""Find and load the entry points of installed packages.

Those of this package are read from its metadata directly: importing `importlib.metadata` and looking through all
installed packages would take a tenth of the time of a query.
"""

import os
import sys
from functools import cache
from glob import iglob
from importlib import import_module
from typing import Any

from ..errors import BackendError, TransHashError

_METADATA = os.path.join("transhash-*.dist-info", "entry_points.txt")


def names(group: str) -> list[str]:
    """Return the names in a group, sorted."""
    return sorted({*_own_entry_points(group), *(point.name for point in _installed(group))})


def has(group: str, name: str) -> bool:
    """Return whether an entry point in a group has this name."""
    return name in _own_entry_points(group) or any(point.name == name for point in _installed(group))


def load(group: str, name: str, kind: str, hint: str, error_type: type[TransHashError] = BackendError) -> Any:
    """Load the object registered under a name in a group.

    Error messages call it a `kind`, and add `hint`, which may contain `{package}`, if the import fails.

    Raises `error_type` if no entry point has that name, or its package cannot be imported.
    """
    reference = _own_entry_points(group).get(name)
    point = None if reference else next((point for point in _installed(group) if point.name == name), None)
    if not (reference or point):
        raise error_type(f"{kind} {name!r} is not installed; available: {', '.join(names(group))}")
    try:
        return point.load() if point else _imported(reference)
    except Exception as error:  # a plugin may raise anything; the message names its package
        package = (point.dist.name if point.dist else point.value) if point else "transhash"
        line = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise error_type(f"{kind} {name!r} does not load ({line}); {hint.format(package=package)}") from error


def _installed(group: str) -> Any:
    """Return the entry points of all packages."""
    from importlib.metadata import entry_points

    return entry_points(group=group)


@cache
def _own_entry_points(group: str) -> dict[str, str]:
    """Return the entry points of this package, ``module:attribute`` by name; empty if its metadata are elsewhere."""
    found: dict[str, str] = {}
    section = ""
    for line in _own_metadata().splitlines():
        name, equals, value = map(str.strip, line.partition("="))
        if line.startswith("["):
            section = line.strip().strip("[]")
        elif section == group and equals:
            found[name] = value
    return found


def _own_metadata() -> str:
    for folder in sys.path:
        for found in iglob(_METADATA, root_dir=folder or os.curdir):
            with open(os.path.join(folder, found), encoding="utf-8") as file:
                return file.read()
    return ""


def _imported(reference: str | None) -> Any:
    module, _, attribute = (reference or "").partition(":")
    return getattr(import_module(module), attribute)
