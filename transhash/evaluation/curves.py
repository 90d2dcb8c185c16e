"""Precision-recall curves: along the ranking, and by growing the radius of a lookup."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..system import files
from .levels import Levels
from .precision import expected_hits, recall_of

_HEADER = ["curve", "at", "precision", "recall"]
_LONGEST = 64  # bytes of a first line that are looked at


@dataclass(frozen=True, eq=False)
class Curve:
    """Precision and recall, as means over the queries, at growing depths.

    Attributes:
        name: ``ranking`` or ``radius``.
        at: (m,) int64: the first N of the ranking, or a Hamming radius in bits.
        precision: (m,) float64.
        recall: (m,) float64.
    """

    name: str
    at: NDArray[np.int64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


def ranking_curve(levels: Levels, depths: Sequence[int]) -> Curve:
    """Return P@N and recall@N for each N of `depths`, expected over the order of ties."""
    at, hits = np.array(depths, dtype=np.int64), expected_hits(levels, depths)
    return Curve("ranking", at, (hits / at).mean(axis=0), recall_of(levels, hits).mean(axis=0))


def radius_curve(levels: Levels) -> Curve:
    """Return precision and recall of all that lies within each radius, 0 to bits.

    A query that finds nothing counts as precision 0, one without any relevant item as recall 0.
    """
    found, hits = np.cumsum(levels.total, axis=1), np.cumsum(levels.relevant, axis=1)
    precision = np.divide(hits, found, out=np.zeros(hits.shape), where=found > 0)
    recall = np.divide(hits, hits[:, -1:], out=np.zeros(hits.shape), where=hits[:, -1:] > 0)
    return Curve("radius", np.arange(hits.shape[1]), precision.mean(axis=0), recall.mean(axis=0))


def depths_to(count: int) -> list[int]:
    """Return depths that look even on a logarithmic axis: 1, 2, ... 9, 10, 20, ... 90, 100, ... and `count`."""
    steps = (digit * 10**power for power in range(len(str(count))) for digit in range(1, 10))
    return [step for step in steps if step < count] + [count]


def is_curves_file(path: Path) -> bool:
    """Return whether `path` is a CSV file of curves, by its header."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.readline(_LONGEST).rstrip(b"\r\n") == ",".join(_HEADER).encode()


def write_curves(path: Path, curves: Sequence[Curve]) -> None:
    """Write curves as one CSV (RFC 4180), a point a row: curve, at, precision, recall.

    The file is whole or not there. Raises OSError if it cannot be written.
    """
    with files.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(_HEADER)
        for curve in curves:
            points = zip(curve.at.tolist(), curve.precision.tolist(), curve.recall.tolist(), strict=True)
            rows.writerows([curve.name, *point] for point in points)
