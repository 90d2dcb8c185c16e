"""Format figures, and say whether higher or lower is better. Their names: ``docs/results-format.md``."""

import math
import re
from collections.abc import Sequence
from typing import Any

from .records import Measurement

SHARES = ("mAP", "µAP", "AP", "P@", "precision", "recall", "share", "empty@")
_HIGHER = (*SHARES[:6], "queries/s", "images/s", "rows/s", "G codes/s")
_COUNTED = ("bits", "codes", "numbers", "rows")
_LOWER = ("empty@", "bytes", "MiB", "ms ", "build s", "s ", "s")


def spell(name: str, figure: Measurement) -> str:
    """Return a figure with its range: ``0.38 (0.36 to 0.41)``."""
    text = number(name, figure.value)
    between = span(name, figure)
    return f"{text} ({between})" if between else text


def span(name: str, figure: Measurement) -> str:
    """Return the range of a figure, ``0.36 to 0.41``; empty if there is none or its rounded ends are equal."""
    if figure.low is None or figure.high is None:
        return ""
    low, high = number(name, figure.low), number(name, figure.high)
    return f"{low} to {high}" if low != high else ""


def number(name: str, value: float) -> str:
    """Format a value: shares with four decimals, integers exactly, others with three significant digits."""
    if name.startswith(SHARES):
        return f"{value:.4f}"
    return plain(value)


def plain(value: float) -> str:
    """Format a number with three significant digits; integers, and numbers from 1,000 on, without decimals."""
    if value == round(value) or abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.3g}"
    if abs(value) < 1e-4:
        return f"{value:.2e}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def better(name: str) -> int:
    """Return 1 if a higher figure is better, -1 if a lower one is, 0 if it is not known."""
    if name.startswith(_HIGHER):
        return 1
    return -1 if name.startswith(_LOWER[:-1]) or name == _LOWER[-1] else 0


def label(method: str, params: dict[str, Any]) -> str:
    """Name a method with its parameters: ``TransHash, 64 bits, nprobe 8``."""
    return ", ".join([method, *spelled(params)])


def shared(params: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the parameters that are equal in all of several dicts; empty for fewer than two."""
    if len(params) < 2:
        return {}
    first = params[0].items()
    return {name: value for name, value in first if all(name in each and each[name] == value for each in params)}


def rest(params: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that are not common."""
    return {name: value for name, value in params.items() if name not in common}


def spelled(params: dict[str, Any]) -> list[str]:
    """Format parameters: ``64 bits``, ``nprobe 8``."""
    return [
        f"{value:,} {name}" if name in _COUNTED and isinstance(value, int) else f"{name} {value}"
        for name, value in params.items()
    ]


def size(dataset: str) -> int | None:
    """Return the size of a data set: the largest number in a name such as ``clustered, 1,000,000``; else None."""
    numbers = [int(digits.replace(",", "")) for digits in re.findall(r"\b\d{1,3}(?:,\d{3})+\b|\b\d{4,12}\b", dataset)]
    return max(numbers, default=None)
