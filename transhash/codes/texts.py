"""Paths and labels as the Unicode text that databases store.

A path may be any bytes, of which databases take only UTF-8, and some take no NUL. Any other byte is written as a
character of the last private plane, U+10FF00 + byte, and comes back the same.
"""

import os
import re

# Characters of the last private plane stand for NUL, bytes that are not UTF-8, and the bytes of such characters.
_ESCAPES = 0x10FF00
_ESCAPED = re.compile("[\U0010ff00-\U0010ffff]")
_PLAIN = re.compile(r"[\x01-\x7f]*")
_SURROGATES = range(0xD800, 0xE000)


def text(path: bytes) -> str:
    """Return a path as text: unchanged if it is UTF-8 without NUL. See `path`."""
    read = path.decode("utf-8", "surrogateescape")
    return read if _PLAIN.fullmatch(read) else "".join(map(_escaped, read))


def path(stored: str) -> bytes:
    """Undo `text`."""
    if stored.isascii():
        return stored.encode()
    return b"".join(
        bytes([ord(char) - _ESCAPES]) if _ESCAPED.match(char) else char.encode("utf-8", "surrogateescape")
        for char in stored
    )


def label(name: str) -> str:
    """Return a label as text: unchanged if it is Unicode without NUL. See `label_name`."""
    return name if _PLAIN.fullmatch(name) else text(name.encode("utf-8", "backslashreplace"))


def label_name(stored: str) -> str:
    """Undo `label`."""
    return path(stored).decode("utf-8", "backslashreplace")


def is_plain(text: str) -> bool:
    """Return whether text is stored unchanged, so that a database can compare it directly."""
    try:
        return "\0" not in text and not _ESCAPED.search(text) and os.fsencode(text).decode() == text
    except UnicodeError:  # part of a character may be the start of a whole one, which is stored differently
        return False


def place(root: bytes, path: bytes) -> bytes:
    """Return a whole path as patterns see it: relative to the folder that was encoded, if it is inside it."""
    inside = os.path.join(root, b"") if root else b""
    return path[len(inside) :] if inside and path.startswith(inside) else path


def _escaped(char: str) -> str:
    code = ord(char)
    if code in _SURROGATES:
        return chr(_ESCAPES + code - 0xDC00)
    escaped = not code or _ESCAPED.match(char)
    return "".join(chr(_ESCAPES + byte) for byte in char.encode()) if escaped else char
