"""Classify file names, and name files relative to a common folder."""

import os
from collections.abc import Sequence
from pathlib import Path

from . import heif

SUFFIXES = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"),
    *(heif.SUFFIXES if heif.installed() else ()),
)

_CLUTTER = frozenset(
    (
        *(b"@eadir", b"#recycle", b"#snapshot", b"$recycle.bin", b"__macosx", b"lost+found"),
        *(b"desktop.ini", b"ehthumbs.db", b"system volume information", b"thumbs.db"),
    )
)
_ENDINGS = tuple(suffix.encode() for suffix in SUFFIXES)


def is_image(name: bytes) -> bool:
    """Return whether a file's name ends in one of `SUFFIXES`, ignoring case."""
    return name.lower().endswith(_ENDINGS)


def is_hidden(name: bytes) -> bool:
    """Return whether a file or folder is hidden, or one that operating systems add to folders."""
    return (name.startswith(b".") and name not in (b".", b"..")) or name.lower() in _CLUTTER


def suffix(path: bytes) -> str:
    """Return the key under which an ignored file is counted: its suffix in lower case."""
    return os.path.splitext(path)[1].lower().decode("utf-8", "backslashreplace") or "no suffix"


def below(paths: Sequence[str | Path]) -> tuple[bytes, list[bytes]]:
    """Return the absolute path of the innermost folder that contains all files, and their paths relative to it."""
    absolute = [os.fsencode(os.path.abspath(path)) for path in paths]
    root = os.path.commonpath([os.path.dirname(path) for path in absolute])
    return root, [os.path.relpath(path, root) for path in absolute]


def together(paths: Sequence[str | Path], kind: str) -> str:
    """Describe files for one line of output: the name of a single file, or "3 tar archives" for several."""
    return str(paths[0]) if len(paths) == 1 else f"{len(paths):,} {kind}"
