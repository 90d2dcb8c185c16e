"""Settings that say what they are for and what they may be: one text for the code, the docs and the command line."""

from dataclasses import field, fields
from typing import Any

from .system.arguments import check_fields


def setting(default: Any, help: str, *, low: float | None = None, high: float | None = None, of: Any = ()) -> Any:
    """Return a dataclass field with a default, a sentence about it, and its range or the values to choose from."""
    return field(default=default, metadata={"help": help, "low": low, "high": high, "of": tuple(of)})


def fault(settings: Any) -> str | None:
    """Return what is wrong with the first value of a dataclass of settings that is none of those allowed, if any.

    Raises TypeError for a value of another type than that of its field.
    """
    check_fields(settings)
    for entry in fields(settings):
        value, allowed = getattr(settings, entry.name), entry.metadata
        if value is None and entry.default is None:
            continue
        if allowed["of"] and value not in allowed["of"]:
            return f"{_spelled(entry.name)} {value!r:.60}: must be one of {', '.join(allowed['of'])}"
        if allowed["low"] is not None and not allowed["low"] <= value <= allowed["high"]:
            return f"{_spelled(entry.name)} {value}: must be from {allowed['low']} to {allowed['high']}"
    return None


def _spelled(name: str) -> str:
    return name.replace("_", "-")
