"""The distribution of distances between unrelated images, for codes of a model."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from .. import hamming

_THOUSAND, _MILLION, _BILLION = -3.0, -6.0, -9.0  # logarithms of the shares
_FEWEST_PAIRS = 10  # minimum number of pairs to measure a share from
_BLOCK = 1 << 24  # distances computed at a time

_Distance = Annotated[int, Meta(ge=-1024, le=1024)]


@dataclass(frozen=True)
class Rarity:
    """Distances of unrelated images, for codes of one length.

    Attributes:
        bits: length of the codes.
        thousand: distance within which one pair in 10³ of unrelated images falls.
        million: the same for one pair in 10⁶.
        billion: the same for one pair in 10⁹; below 0 if more pairs than that have equal codes.
    """

    bits: Annotated[int, Meta(ge=8, le=1024)]
    thousand: _Distance
    million: _Distance
    billion: _Distance

    def radius(self, share: float) -> int:
        """Return the distance within which this share of the pairs of unrelated images falls, at least 0.

        Shares between and below the three known ones are interpolated or extrapolated on a logarithmic scale. Shares
        above one in a thousand are treated as one in a thousand.
        """
        place = math.log10(max(share, 1e-300))
        if place >= _MILLION:
            near, far, part = self.million, self.thousand, (min(place, _THOUSAND) - _MILLION) / 3
        else:
            near, far, part = self.billion, self.million, (place - _BILLION) / 3
        return max(0, math.floor(near + (far - near) * part + 1e-9))

    @classmethod
    def measured(cls, codes: NDArray[np.uint8]) -> Self | None:
        """Measure the pairs of codes (n, bits/8) uint8 of unrelated images; return None for fewer than about 200.

        If there are too few pairs to measure a share, its distance is extrapolated, linearly in the logarithm of the
        share, from one pair in 10³ and the rarest share that ten pairs have. Fewer unrelated images are near than the
        line predicts, so it errs towards small distances.
        """
        counts = _distance_counts(codes)
        pairs = int(counts.sum())
        rarest = max(_MILLION, math.log10(_FEWEST_PAIRS / pairs)) if pairs else 0.0
        if rarest > _THOUSAND - 0.3:
            return None
        shares = counts.cumsum() / pairs
        far, near = (int(np.searchsorted(shares, 10**place, "right")) - 1 for place in (_THOUSAND, rarest))
        slope = (far - near) / (_THOUSAND - rarest)
        million, billion = (math.floor(far + slope * (place - _THOUSAND)) for place in (_MILLION, _BILLION))
        return cls(codes.shape[1] * 8, far, million, billion)


def _distance_counts(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the pairs of codes at each distance, (bits + 1,)."""
    counts = np.zeros(codes.shape[1] * 8 + 1, np.int64)
    for apart in _blocks(codes):
        counts += np.bincount(apart, minlength=len(counts))
    return counts


def _blocks(codes: NDArray[np.uint8]) -> Iterator[NDArray[np.uint16]]:
    """Yield the distances of all pairs, each once."""
    step = max(1, _BLOCK // max(1, len(codes)))
    for start in range(0, len(codes), step):
        apart = hamming.distances(codes[start : start + step], codes[start:])
        rows, columns = np.arange(len(apart))[:, None], np.arange(apart.shape[1])
        yield apart[columns > rows]
