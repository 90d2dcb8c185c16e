"""Retrieval metrics by labels, accumulated over blocks of queries."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from transhash.evaluation import Levels
from transhash.evaluation.average_precision import average_precision
from transhash.evaluation.band import average_precision_band
from transhash.evaluation.curves import depths_to
from transhash.evaluation.metrics import DEPTHS, RADIUS
from transhash.evaluation.precision import empty_within, precision_within
from transhash.report.records import Measurement


class Retrieval:
    """Means over all queries of the metrics in `transhash.evaluation`.

    Attributes:
        depth: number of rows of the database.
    """

    def __init__(self, at: int | None, hamming: bool) -> None:
        """Start without queries.

        Args:
            at: R of mAP@R; None for the whole database.
            hamming: whether a level is a Hamming distance in bits.
        """
        self.depth = 0
        self._at = at
        self._hamming = hamming
        self._values: dict[str, list[NDArray[np.float64]]] = {}
        self._hits: list[NDArray[np.float64]] = []
        self._relevant: list[NDArray[np.int64]] = []

    def add(self, levels: Levels) -> None:
        """Add the levels of a block of queries."""
        self.depth = int(levels.total[0].sum())
        ties = (levels.total > 1).any()
        precision = average_precision(levels, self._at)
        worst, best = average_precision_band(levels, self._at) if ties else (precision, precision)
        values = {"": precision, "worst": worst, "best": best}
        if self._hamming:
            values[f"P@H<={RADIUS}"] = precision_within(levels, RADIUS)
            values[f"empty@H<={RADIUS}"] = empty_within(levels, RADIUS)
        for name, value in values.items():
            self._values.setdefault(name, []).append(value)
        self._hits.append(hits(levels, self._depths))
        self._relevant.append(levels.relevant.sum(axis=1))

    @property
    def mean(self) -> float:
        """The mean average precision."""
        return float(np.concatenate(self._values[""]).mean())

    def figures(self) -> dict[str, Measurement]:
        """Return mAP@R with its band, P@N, recall@N and, for Hamming distances, the metrics within 2 bits."""
        means = {name: float(np.concatenate(parts).mean()) for name, parts in self._values.items()}
        found = {f"mAP@{self._at or 'all'}": Measurement(means.pop(""), means.pop("worst"), means.pop("best"))}
        depths = [depth for depth in DEPTHS if depth <= self.depth]
        precision, recall = self.at(depths)
        found |= {f"P@{depth}": Measurement(value) for depth, value in zip(depths, precision, strict=True)}
        found |= {f"recall@{depth}": Measurement(value) for depth, value in zip(depths, recall, strict=True)}
        return found | {name: Measurement(value) for name, value in means.items()}

    def at(self, depths: Sequence[int]) -> tuple[list[float], list[float]]:
        """Return precision and recall of the first N, rounded to six decimals, for values of `depths_to`."""
        columns = np.searchsorted(self._depths, depths)
        found, relevant = np.concatenate(self._hits)[:, columns], np.concatenate(self._relevant)[:, None]
        recall = np.divide(found, relevant, out=np.zeros(found.shape), where=relevant > 0)
        precision = (found / np.array(depths)).mean(axis=0)
        return precision.round(6).tolist(), recall.mean(axis=0).round(6).tolist()

    @property
    def _depths(self) -> list[int]:
        return depths_to(self.depth)


def hits(levels: Levels, depths: Sequence[int]) -> NDArray[np.float64]:
    """Return the expected number of relevant rows among the first N over all orders of ties, (q, depths).

    Relevant rows are spread evenly over a tie, so the count is linear between levels.
    """
    zero = np.zeros((len(levels.total), 1), np.int64)
    total = np.concatenate([zero, np.cumsum(levels.total, axis=1)], axis=1)
    relevant = np.concatenate([zero, np.cumsum(levels.relevant, axis=1)], axis=1)
    return np.stack([_line(depths, *counts) for counts in zip(total, relevant, strict=True)])


def _line(depths: Sequence[int], total: NDArray[np.int64], relevant: NDArray[np.int64]) -> NDArray[np.float64]:
    new = np.concatenate([[True], np.diff(total) > 0])  # skip empty levels
    return np.interp(depths, total[new], relevant[new])
