"""Classes that installed packages offer under entry points."""

from importlib.metadata import entry_points
from typing import Any

from .errors import BackendError, TransHashError


def names(group: str) -> list[str]:
    """Return the names in a group, sorted."""
    return sorted({point.name for point in entry_points(group=group)})


def load(group: str, name: str, kind: str, hint: str, error_type: type[TransHashError] = BackendError) -> Any:
    """Load what is registered under a name in a group.

    `kind` says in errors what that is, and `hint` what to do with its `{package}` if it does not load.

    Raises `error_type` if nothing has that name, or its package does not import.
    """
    found = [point for point in entry_points(group=group) if point.name == name]
    if not found:
        raise error_type(f"{kind} {name!r} is not installed; available: {', '.join(names(group))}")
    try:
        return found[0].load()
    except Exception as error:  # a plugin's module may fail in any way; the user needs to know which one
        package = found[0].dist.name if found[0].dist else found[0].value
        line = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise error_type(f"{kind} {name!r} does not load ({line}); {hint.format(package=package)}") from error
