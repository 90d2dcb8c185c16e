"""Tuning: the lowest value of the search parameter that reaches a recall, beside the index's own exact search."""

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backends.contract import Backend, SearchParameter
from ..codes import Codes, ModelRef
from ..codes.models import packed_queries
from ..errors import BackendError, MismatchError
from ..results import Nearest

_RUN = 8  # consecutive codes sampled together, because some types pass over all codes to return one
_BITS_A_FLIP = 16  # one in this many bits is flipped, so that queries resemble stored codes but differ from them
_ALWAYS_SAMPLED = 256  # queries that may always be sampled; otherwise at most the number of codes
_CLOSE = 8  # the result is at most an eighth above the lowest value
_SEARCHES, _SHORT = 5, 0.1  # most repeats of a timed search, and the seconds after which it is not repeated


@dataclass(frozen=True)
class Trial:
    """Recall and time at one value of the search parameter.

    Attributes:
        value: value of the search parameter.
        recall: share of the true neighbours that were found, 0 to 1; a match as near as the k-th counts as one.
        seconds: time per query, if all are searched in one call.
    """

    value: int
    recall: float
    seconds: float


@dataclass(frozen=True, repr=False)
class Tuning:
    """The measurements of `tune`.

    Attributes:
        parameter: the search parameter that was tuned.
        trials: the values that were tried, ascending; the last and highest is an exact search.
        chosen: the trial with the lowest value that reached the recall.
    """

    parameter: SearchParameter
    trials: list[Trial]
    chosen: Trial

    def __repr__(self) -> str:
        """Describe the result in one line."""
        found = f"{self.parameter.name}={self.chosen.value}, recall {self.chosen.recall:.4f}"
        return f"<Tuning: {found}; {len(self.trials)} values tried>"


def checked_recall(recall: Any) -> float:
    """Return a recall as a float. Raises TypeError or BackendError if it is not a number above 0, at most 1."""
    if isinstance(recall, bool) or not isinstance(recall, int | float | np.floating):
        raise TypeError(f"recall must be a number from 0 to 1, not {type(recall).__name__}")
    if not 0 < recall <= 1:
        raise BackendError(f"recall={recall}: must be above 0, and at most 1")
    return float(recall)


def queries(backend: Backend, model: ModelRef, codes: Codes | None, count: int) -> NDArray[np.uint8]:
    """Return `count` queries to tune with: the first of `codes`, or a sample of the indexed codes.

    Raises MismatchError if the codes are of another model, or there are none; BackendError if the index type does not
    keep its codes.
    """
    if codes is None:
        try:
            return sample(backend, count)
        except BackendError as error:
            raise BackendError(f"{error}; or pass queries: --queries FILE (queries=)") from None
    packed = packed_queries(codes, model, "the index")
    if not len(packed):
        raise MismatchError("no codes to search for; encode some images first")
    return packed[:count]


def sample(backend: Backend, count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return about `count` queries (q, bits/8) uint8: stored codes with a few bits flipped.

    Raises BackendError if the index type does not keep its codes.
    """
    count = min(count, max(_ALWAYS_SAMPLED, len(backend)))
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, max(1, len(backend) - _RUN + 1), -(-count // _RUN))
    codes = np.concatenate([backend.reconstruct(at, min(at + _RUN, len(backend))) for at in starts.tolist()])
    flips = np.zeros((len(codes), backend.bits), np.bool_)
    flips[:, : max(1, backend.bits // _BITS_A_FLIP)] = True
    return codes ^ np.packbits(rng.permuted(flips, axis=1), axis=1)


def tunable(backend: Backend) -> SearchParameter:
    """Return the search parameter of an index. Raises BackendError if every search of it is exact."""
    parameter = backend.search_parameter()
    if parameter is None:
        raise BackendError(f"index type {backend.info()['type']} has nothing to tune: every search is exact")
    return parameter


def tune(backend: Backend, queries: NDArray[np.uint8], recall: float, k: int) -> Tuning:
    """Find the lowest value of the search parameter with which `queries` (q, bits/8) reach `recall` at k.

    Values are doubled until one reaches the recall; then the interval between the last two is bisected until they are
    close. The index is not changed; `Backend.tune` sets the value.

    Raises BackendError if every search of the index is exact, or if `recall` is not above 0 and at most 1.
    """
    if not 0 < recall <= 1:  # NaN, too: no trial would reach it
        raise BackendError(f"recall={recall}: must be above 0 and at most 1")
    parameter = tunable(backend)
    exact, seconds = _search(backend, queries, k, parameter, parameter.high)
    furthest = exact.distances[:, -1:]
    trials = {parameter.high: Trial(parameter.high, 1.0, seconds)}

    def reaches(value: int) -> bool:
        if value not in trials:
            found, seconds = _search(backend, queries, k, parameter, value)
            trials[value] = Trial(value, float((found.distances <= furthest).mean()), seconds)
        return trials[value].recall >= recall

    below, value = parameter.low - 1, parameter.low
    while not reaches(value):
        below, value = value, min(max(1, 2 * value), parameter.high)
    while value - below > max(1, value // _CLOSE):
        middle = (below + value) // 2
        below, value = (below, middle) if reaches(middle) else (middle, value)
    return Tuning(parameter, [trials[key] for key in sorted(trials)], trials[value])


def _search(
    backend: Backend, queries: NDArray[np.uint8], k: int, parameter: SearchParameter, value: int
) -> tuple[Nearest, float]:
    """Search with `value`; return the matches, and the seconds per query of the fastest of a few repeats."""
    times: list[float] = []
    while len(times) < _SEARCHES and sum(times) < _SHORT:
        before = perf_counter()
        found = backend.search(queries, k, {parameter.name: value})
        times.append(perf_counter() - before)
    return found, min(times) / len(queries)
