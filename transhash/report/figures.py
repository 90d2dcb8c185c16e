"""How figures are spelled, and which end of them is better. Their names: ``docs/results-format.md``."""

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
    """Return the range of a figure, ``0.36 to 0.41``; empty if it has none that shows."""
    if figure.low is None or figure.high is None:
        return ""
    low, high = number(name, figure.low), number(name, figure.high)
    return f"{low} to {high}" if low != high else ""


def number(name: str, value: float) -> str:
    """Spell a value: shares with four decimals, whole numbers as they are, others with three digits that count."""
    if name.startswith(SHARES):
        return f"{value:.4f}"
    return plain(value)


def plain(value: float) -> str:
    """Spell a number with three digits that count; whole numbers, and those above a thousand, without a point."""
    if value == round(value) or abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.3g}"
    if abs(value) < 1e-4:
        return f"{value:.2e}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def better(name: str) -> int:
    """Return 1 where a higher figure is better, -1 where a lower one is, 0 where it is not known."""
    if name.startswith(_HIGHER):
        return 1
    return -1 if name.startswith(_LOWER[:-1]) or name == _LOWER[-1] else 0


def label(method: str, params: dict[str, Any]) -> str:
    """Name a method with its parameters: ``TransHash, 64 bits, nprobe 8``."""
    return ", ".join([method, *spelled(params)])


def shared(params: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the parameters that are the same for all of several: said once, not with each."""
    if len(params) < 2:
        return {}
    first = params[0].items()
    return {name: value for name, value in first if all(name in own and own[name] == value for own in params)}


def rest(params: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters that are not common."""
    return {name: value for name, value in params.items() if name not in common}


def spelled(params: dict[str, Any]) -> list[str]:
    """Spell parameters, one after the other: ``64 bits``, ``nprobe 8``."""
    return [
        f"{value:,} {name}" if name in _COUNTED and isinstance(value, int) else f"{name} {value}"
        for name, value in params.items()
    ]


def size(dataset: str) -> int | None:
    """Return how many codes a data set has, the largest number in a name such as ``clustered, 1,000,000``."""
    numbers = [int(found.replace(",", "")) for found in re.findall(r"\b\d{1,3}(?:,\d{3})+\b|\b\d{4,12}\b", dataset)]
    return max(numbers, default=None)
