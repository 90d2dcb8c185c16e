"""Settings that say what they are for: one text for the code, the documentation and the command line."""

from dataclasses import field
from typing import Any


def setting(default: Any, help: str) -> Any:
    """Return a dataclass field with a default and a sentence about it."""
    return field(default=default, metadata={"help": help})
