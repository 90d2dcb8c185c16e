"""Search backends: their interface, and loading an installed one by name."""

from typing import cast

from ..system import plugins
from .contract import Backend, CodeRows, Rewriting, SearchParameter, Streaming, check_params

__all__ = [
    "Backend",
    "CodeRows",
    "Rewriting",
    "SearchParameter",
    "Streaming",
    "check_params",
    "has",
    "load",
    "names",
]

GROUP = "transhash.backends"


def names() -> list[str]:
    """Return the names of the installed backends, sorted."""
    return plugins.names(GROUP)


def has(name: str) -> bool:
    """Return whether a backend of this name is installed."""
    return plugins.has(GROUP, name)


def load(name: str) -> type[Backend]:
    """Return the backend class registered under `name`.

    Raises BackendError if there is none, or if its package cannot be imported.
    """
    hint = "reinstall the package {package!r} with its dependencies"
    return cast("type[Backend]", plugins.load(GROUP, name, "backend", hint))
