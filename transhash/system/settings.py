"""Settings: dataclass fields with a help text and a range, from which the command line makes its options."""

from dataclasses import field, fields
from typing import Any

from .arguments import check_fields


def setting(default: Any, help: str, *, low: float | None = None, high: float | None = None, of: Any = ()) -> Any:
    """Return a dataclass field with a default, a help text, and its range or choices."""
    return field(default=default, metadata={"help": help, "low": low, "high": high, "of": tuple(of)})


def first_error(settings: Any) -> str | None:
    """Describe the first value of a settings dataclass that is not allowed; None if all are.

    Raises TypeError for a value that does not have the type of its field.
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
