"""What Milvus can compare itself, in its language of expressions; strings from anywhere, quoted.

A prefix is asked for as an interval, since ``like`` gives ``_`` and ``%`` another meaning in every version.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence

EVERYTHING = "id >= 0"

_ESCAPES = 0x10FF00  # of the last private plane: a byte that is no UTF-8, or is that of a character of these
_ESCAPED = re.compile("[\U0010ff00-\U0010ffff]")
_SURROGATES = range(0xD800, 0xE000)
_WILD = re.compile(r"[*?\[]")


def text(path: bytes) -> str:
    """Return a path as Unicode, which is all that Milvus stores: as it reads, if it is UTF-8. See `path`."""
    read = path.decode("utf-8", "surrogateescape")
    return "".join(map(_escaped, read)) if not read.isascii() else read


def path(stored: str) -> bytes:
    """Undo `text`."""
    if stored.isascii():
        return stored.encode()
    return b"".join(
        bytes([ord(char) - _ESCAPES]) if _ESCAPED.match(char) else char.encode("utf-8", "surrogateescape")
        for char in stored
    )


def label(name: str) -> str:
    """Return a label as Milvus stores it."""
    return name.encode("utf-8", "backslashreplace").decode()


def one_of(field: str, values: Iterable[str | int]) -> str:
    """Return the rows where a field has one of some values."""
    return f"{field} in [{', '.join(map(_quoted, values))}]"


def labelled(names: Iterable[str]) -> str:
    """Return the rows that have one of some labels."""
    return f"array_contains_any(labels, [{', '.join(_quoted(label(name)) for name in names)}])"


def between(first: int, stop: int) -> str:
    """Return the rows whose ids are from `first` to before `stop`."""
    return f"(id >= {first} and id < {stop})"


def all_of(conditions: Iterable[str]) -> str:
    """Return the rows that fulfil all conditions."""
    return " and ".join(f"({condition})" for condition in conditions if condition != EVERYTHING) or EVERYTHING


def any_of(conditions: Iterable[str]) -> str:
    """Return the rows that fulfil one of the conditions."""
    return " or ".join(f"({condition})" for condition in conditions)


def matching(patterns: Sequence[str], root: bytes) -> str | None:
    """Return the rows whose paths match one of some patterns (`transhash.index.filters`); None if Milvus cannot say.

    It can for ``*``, and for a folder with all that is in it: ``cats/*``, ``/home/me/cats/*``.
    """
    found = [_matching(pattern, root) for pattern in patterns]
    return None if None in found else any_of(one for one in found if one)


def _matching(pattern: str, root: bytes) -> str | None:
    if pattern == "*":
        return EVERYTHING
    begin = pattern[:-1]
    if not pattern.endswith("*") or "/" not in begin or _WILD.search(begin) or _ESCAPED.search(begin):
        return None
    prefix = os.fsencode(begin)
    try:
        prefix.decode()
    except UnicodeDecodeError:  # half a character may be the prefix of a path, and is stored otherwise
        return None
    if begin.startswith("/") or not root:
        return _prefixed(prefix)
    inside = os.path.join(root, b"")
    return f"{_prefixed(inside + prefix)} or ({_prefixed(prefix)} and not {_prefixed(inside)})"


def interval(prefix: str) -> tuple[str, str]:
    """Return the first text with a prefix, not only of U+10FFFF, and the first behind all, in the order of UTF-8."""
    begin = prefix.rstrip("\U0010ffff")
    after = ord(begin[-1]) + 1
    return prefix, begin[:-1] + chr(_SURROGATES.stop if after in _SURROGATES else after)


def _prefixed(prefix: bytes) -> str:
    """Return the rows whose paths begin with a prefix."""
    begin, end = map(_quoted, interval(text(prefix)))
    return f"(path >= {begin} and path < {end})"


def _escaped(char: str) -> str:
    code = ord(char)
    if code in _SURROGATES:
        return chr(_ESCAPES + code - 0xDC00)
    return "".join(chr(_ESCAPES + byte) for byte in char.encode()) if _ESCAPED.match(char) else char


def _quoted(value: str | int) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
