"""Labels as text, converted in the same way for all sources."""

import os
import re

MAX_LABELS = 1024  # labels per image in a codes file
MAX_LABEL = 1 << 12  # bytes of a label

_LIKE_AN_ESCAPE = re.compile(rb"\\(?=x(?:5c|[89a-f][0-9a-f]))")


def label(name: bytes) -> str:
    r"""Return a label that can be stored as UTF-8; different names give different labels.

    A byte that is not UTF-8 becomes ``\xff``. A backslash that would look like the start of such an escape, as in the
    four characters ``\xff``, becomes ``\x5c``: ``\x5cxff``. Any other name is used unchanged.
    """
    return _LIKE_AN_ESCAPE.sub(rb"\\x5c", name).decode("utf-8", "backslashreplace")


def folder_labels(path: bytes) -> tuple[str, ...]:
    """Return the first folder on a relative path as its label; empty if it has no folder."""
    first, separator, _ = path.partition(os.sep.encode())
    return (label(first),) if separator and first not in (b"", b"..") else ()


def labels_of(value: object) -> tuple[str, ...]:
    """Return the labels in a field of a table or document: a name, an integer, a list of them, or None.

    Raises ValueError for anything else, or for more labels than a codes file can hold.
    """
    values = value if isinstance(value, list) else [] if value is None else [value]
    labels = tuple(dict.fromkeys(name for name in map(_text, values) if name))
    if len(labels) > MAX_LABELS:
        raise ValueError(f"{len(labels)} labels: at most {MAX_LABELS} per image are allowed")
    return labels


def _text(value: object) -> str:
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogatepass")
    if not isinstance(value, bytes):
        raise ValueError(f"a {type(value).__name__} as label; expected a name, an integer, or a list of them")
    text = label(value.strip())
    if len(text.encode()) > MAX_LABEL:
        raise ValueError(f"a label of {len(value)} bytes: at most {MAX_LABEL} are allowed")
    return text
