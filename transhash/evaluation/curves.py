"""Precision-recall curves: along the ranking, and by Hamming radius."""

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
_LONGEST = 64  # bytes read of the first line


@dataclass(frozen=True, eq=False)
class PrecisionRecallCurve:
    """Precision and recall at increasing depths, as means over the queries.

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


def ranking_curve(levels: Levels, depths: Sequence[int]) -> PrecisionRecallCurve:
    """Return P@N and recall@N for each N in `depths`, as expectations over the order of ties."""
    at, hits = np.array(depths, dtype=np.int64), expected_hits(levels, depths)
    return PrecisionRecallCurve("ranking", at, (hits / at).mean(axis=0), recall_of(levels, hits).mean(axis=0))


def radius_curve(levels: Levels) -> PrecisionRecallCurve:
    """Return precision and recall of all matches within each radius, 0 to bits.

    A query without matches has precision 0, one without relevant items recall 0.
    """
    retrieved, hits = np.cumsum(levels.total, axis=1), np.cumsum(levels.relevant, axis=1)
    precision = np.divide(hits, retrieved, out=np.zeros(hits.shape), where=retrieved > 0)
    recall = np.divide(hits, hits[:, -1:], out=np.zeros(hits.shape), where=hits[:, -1:] > 0)
    return PrecisionRecallCurve("radius", np.arange(hits.shape[1]), precision.mean(axis=0), recall.mean(axis=0))


def depths_to(count: int) -> list[int]:
    """Return depths for a logarithmic axis: 1, 2, ... 9, 10, 20, ... 90, 100, ... and `count`."""
    steps = (digit * 10**power for power in range(len(str(count))) for digit in range(1, 10))
    return [step for step in steps if step < count] + [count]


def is_curves_file(path: Path) -> bool:
    """Return whether `path` is a CSV file of curves, by its header."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.readline(_LONGEST).rstrip(b"\r\n") == ",".join(_HEADER).encode()


def write_curves(path: Path, curves: Sequence[PrecisionRecallCurve]) -> None:
    """Write curves as one CSV file (RFC 4180), atomically: a row per point with curve, at, precision, recall.

    Raises OSError if it cannot be written.
    """
    with files.replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(_HEADER)
        for curve in curves:
            points = zip(curve.at.tolist(), curve.precision.tolist(), curve.recall.tolist(), strict=True)
            rows.writerows([curve.name, *point] for point in points)
