"""Find and load the entry points of installed packages."""

from importlib.metadata import entry_points
from typing import Any

from ..errors import BackendError, TransHashError


def names(group: str) -> list[str]:
    """Return the names in a group, sorted."""
    return sorted({point.name for point in entry_points(group=group)})


def load(group: str, name: str, kind: str, hint: str, error_type: type[TransHashError] = BackendError) -> Any:
    """Load the object registered under a name in a group.

    Error messages call it a `kind`, and add `hint`, which may contain `{package}`, if the import fails.

    Raises `error_type` if no entry point has that name, or its package cannot be imported.
    """
    points = [point for point in entry_points(group=group) if point.name == name]
    if not points:
        raise error_type(f"{kind} {name!r} is not installed; available: {', '.join(names(group))}")
    try:
        return points[0].load()
    except Exception as error:  # a plugin may raise anything; the message names its package
        package = points[0].dist.name if points[0].dist else points[0].value
        line = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise error_type(f"{kind} {name!r} does not load ({line}); {hint.format(package=package)}") from error
