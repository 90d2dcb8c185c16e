"""Classify a match by its distance: a copy of the query, likely one, or unrelated."""

from dataclasses import dataclass
from typing import Self

from ..hashers.rarity import Rarity

_COPY = 1e-3, 1e-6  # expected unrelated images this near: per query, and per pair of unrelated images
_LIKELY = 1e-1, 1e-4

UNRELATED = "unrelated"
VERDICTS = ("copy", "likely", UNRELATED)


@dataclass(frozen=True)
class Verdicts:
    """Distances that separate copies from unrelated images in a collection of one size.

    Attributes:
        copy: largest distance of a ``copy``: fewer than one query in a thousand meets an unrelated image as near, and
            at most one pair of unrelated images in 10⁶ is.
        likely: largest distance of a ``likely`` copy: fewer than one query in ten, and one pair in 10⁴.
    """

    copy: int
    likely: int

    @classmethod
    def of(cls, rarity: Rarity, count: int) -> Self:
        """Return the distances for a collection of `count` images."""
        images = max(1, count)
        return cls(*(rarity.radius(min(share, met / images)) for met, share in (_COPY, _LIKELY)))

    def verdict(self, distance: int) -> str:
        """Return one of `VERDICTS`."""
        return VERDICTS[(distance > self.copy) + (distance > self.likely)]
