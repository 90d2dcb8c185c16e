"""Keep the ranges of `quantized` in the user's cache, because finding them takes seconds."""

import os
from pathlib import Path

import msgspec

from ..system import files
from .quantized import Ranges

_VERSION = 1  # changes with the photographs and with the way the ranges are computed


def read(digest: str) -> Ranges | None:
    """Return the ranges of the hasher whose file has this SHA-256, or None if they are not in the cache."""
    try:
        found = msgspec.json.decode(_path(digest).read_bytes(), type=Ranges)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return found or None


def write(digest: str, ranges: Ranges) -> None:
    """Add the ranges of a hasher to the cache, if that can be written."""
    path = _path(digest)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as temporary:
            temporary.write_bytes(msgspec.json.encode(ranges))
    except OSError:
        return


def _path(digest: str) -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(cache) / "transhash" / f"ranges-{_VERSION}" / f"{digest}.json"
