"""Search backends: their contract, and how an installed one is found."""

from typing import cast

from .. import plugins
from .contract import Backend, CodeRows, SearchParameter, Streaming, check_params

__all__ = ["Backend", "CodeRows", "SearchParameter", "Streaming", "check_params", "load", "names"]

GROUP = "transhash.backends"


def names() -> list[str]:
    """Return the names of the installed backends, sorted."""
    return plugins.names(GROUP)


def load(name: str) -> type[Backend]:
    """Return the backend class registered under `name`.

    Raises BackendError if none is, or if its package does not import.
    """
    hint = "reinstall the package {package!r} with what it needs"
    return cast("type[Backend]", plugins.load(GROUP, name, "backend", hint))
