"""Paths and other text from outside, made printable. Loads nothing, because `th --help` needs it."""

import os


def display(path: str | bytes | os.PathLike[str]) -> str:
    """Return a path as printable text on one line: control characters and undecodable bytes become escapes."""
    name = os.fspath(path)
    return printable(name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name)


def printable(text: str) -> str:
    """Return text in which control characters and undecodable bytes are replaced by escapes."""
    return text if text.isprintable() else "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else char.encode("unicode_escape").decode()
