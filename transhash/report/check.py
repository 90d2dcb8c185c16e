"""Check the values in an untrusted results file: types, and sizes that a page can hold.

Every function returns the value, or raises ValueError.
"""

import base64
from typing import Any

_MAX_TEXT = 1 << 14
_MAX_IMAGE = 1 << 19  # characters of base64
_MAX_POINTS = 1 << 16
_LARGEST = 1e100
_MAX_DEPTH = 4  # levels of lists and objects in settings
_IMAGES = {b"\xff\xd8\xff": "jpeg", b"\x89PNG\r\n\x1a\n": "png", b"RIFF": "webp"}


def instance(kind: type[Any], value: Any) -> Any:
    """Check a type."""
    if not isinstance(value, kind):
        raise ValueError(f"{short(value)} where {kind.__name__} is expected")
    return value


def text(value: Any, most: int = _MAX_TEXT) -> str:
    """Check a string; a lone surrogate, which JSON allows, becomes an escape."""
    if len(instance(str, value)) > most:
        raise ValueError(f"{len(value):,} characters; {most:,} at most")
    return str(value).encode("utf-8", "backslashreplace").decode()


def number(value: Any) -> float:
    """Check a finite number that can be drawn; one too small to draw becomes 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _LARGEST:
        raise ValueError(f"{short(value)} where a number of at most {_LARGEST:g} is expected")
    return float(value) if abs(value) >= 1 / _LARGEST else 0.0


def optional_number(value: Any) -> float | None:
    """Check a finite number or None."""
    return None if value is None else number(value)


def plain(value: Any, depth: int = 0) -> Any:
    """Check a string, number, boolean or None, or lists and objects of them, nested at most `depth` levels."""
    if isinstance(value, dict | list) and not depth:
        raise ValueError(f"{short(value)}: too many levels deep")
    if isinstance(value, dict):
        return {text(name): plain(part, depth - 1) for name, part in value.items()}
    if isinstance(value, list):
        return [plain(part, depth - 1) for part in value]
    if isinstance(value, str):
        return text(value)
    return value if value is None or isinstance(value, bool | int) else number(value)


def settings(value: Any) -> dict[str, Any]:
    """Check an object whose values `plain` accepts."""
    return {text(name): plain(part, _MAX_DEPTH) for name, part in instance(dict, value).items()}


def params(value: Any) -> dict[str, Any]:
    """Check an object of strings, numbers, booleans and None."""
    return {text(name): plain(part) for name, part in instance(dict, value).items()}


def texts(value: Any) -> dict[str, str]:
    """Check an object of strings."""
    return {text(name): text(part) for name, part in instance(dict, value).items()}


def points(value: Any) -> list[tuple[float, float]]:
    """Check a list of pairs of numbers."""
    if len(instance(list, value)) > _MAX_POINTS:
        raise ValueError(f"{len(value):,} points; {_MAX_POINTS:,} at most")
    if not all(isinstance(point, list) and len(point) == 2 for point in value):
        raise ValueError("points are pairs of numbers")
    return [(number(x), number(y)) for x, y in value]


def image(value: Any) -> str:
    """Check a JPEG, PNG or WebP file in base64, or an empty string."""
    encoded = text(value, _MAX_IMAGE)
    base64.b64decode(encoded, validate=True)  # raises binascii.Error, a ValueError
    if encoded and not image_kind(encoded):
        raise ValueError("neither JPEG nor PNG nor WebP")
    return encoded


def image_kind(encoded: str) -> str:
    """Return ``jpeg``, ``png`` or ``webp`` for a file in base64, by its first bytes; otherwise an empty string."""
    head = base64.b64decode(encoded[:16])
    return next((kind for start, kind in _IMAGES.items() if head.startswith(start)), "")


def short(value: Any) -> str:
    """Return the repr of a value, cut to 60 characters."""
    spelled = repr(value)
    return spelled if len(spelled) < 60 else spelled[:56] + " ..."
