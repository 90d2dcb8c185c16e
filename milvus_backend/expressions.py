"""Conditions in the expression language of Milvus, with untrusted strings quoted.

A prefix becomes an interval, because ``like`` treats ``_`` and ``%`` differently in every version.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence

from transhash.codes import texts

EVERYTHING = "id >= 0"

_SURROGATES = range(0xD800, 0xE000)
_WILD = re.compile(r"[*?\[]")


def one_of(field: str, values: Iterable[str | int]) -> str:
    """Return a condition: a field has one of the values."""
    return f"{field} in [{', '.join(map(_quoted, values))}]"


def labelled(names: Iterable[str]) -> str:
    """Return a condition: a row has one of the labels."""
    return f"array_contains_any(labels, [{', '.join(_quoted(texts.label(name)) for name in names)}])"


def between(first: int, stop: int) -> str:
    """Return a condition: an id is at least `first` and below `stop`."""
    return f"(id >= {first} and id < {stop})"


def all_of(conditions: Iterable[str]) -> str:
    """Return the conjunction of conditions."""
    return " and ".join(f"({condition})" for condition in conditions if condition != EVERYTHING) or EVERYTHING


def any_of(conditions: Iterable[str]) -> str:
    """Return the disjunction of conditions."""
    return " or ".join(f"({condition})" for condition in conditions)


def matching(patterns: Sequence[str], root: bytes) -> str | None:
    """Return a condition: a path matches one of the patterns (`transhash.index.filters`). None if Milvus cannot tell.

    Milvus can evaluate ``*``, and patterns for everything in a folder: ``cats/*``, ``/home/me/cats/*``.
    """
    found = [_matching(pattern, root) for pattern in patterns]
    return None if None in found else any_of(one for one in found if one)


def _matching(pattern: str, root: bytes) -> str | None:
    if pattern == "*":
        return EVERYTHING
    begin = pattern[:-1]
    if not pattern.endswith("*") or "/" not in begin or _WILD.search(begin) or not texts.is_plain(begin):
        return None
    prefix = os.fsencode(begin)
    if begin.startswith("/") or not root:
        return _prefixed(prefix)
    inside = os.path.join(root, b"")
    return f"{_prefixed(inside + prefix)} or ({_prefixed(prefix)} and not {_prefixed(inside)})"


def interval(prefix: str) -> tuple[str, str]:
    """Return the first text with a prefix, and the first text after all of these, in UTF-8 order.

    The prefix must not consist of U+10FFFF alone.
    """
    begin = prefix.rstrip("\U0010ffff")
    after = ord(begin[-1]) + 1
    return prefix, begin[:-1] + chr(_SURROGATES.stop if after in _SURROGATES else after)


def _prefixed(prefix: bytes) -> str:
    """Return a condition: a path begins with a prefix."""
    begin, end = map(_quoted, interval(texts.text(prefix)))
    return f"(path >= {begin} and path < {end})"


def _quoted(value: str | int) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
