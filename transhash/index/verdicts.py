"""What a distance says about an image that a search found: a copy of the query, likely one, or unrelated."""

from dataclasses import dataclass
from typing import Self

from ..hashers.rarity import Rarity

_COPY = 1e-2  # unrelated images expected as near as a copy
_RAREST = 1e-6  # share of the pairs of unrelated images, in a small collection
_LIKELY = 1.0  # unrelated images expected as near as a likely copy

VERDICTS = ("copy", "likely", "unrelated")


@dataclass(frozen=True)
class Verdicts:
    """Distances that separate copies from unrelated images in a collection of one size.

    Attributes:
        copy: largest distance of a ``copy``: at most one pair of unrelated images in 10⁶ is as near, and a query
            meets one in fewer than a hundredth of the cases.
        likely: largest distance of a ``likely`` copy: less than one unrelated image is expected as near.
    """

    copy: int
    likely: int

    @classmethod
    def of(cls, rarity: Rarity, count: int) -> Self:
        """Return the distances for a collection of `count` images."""
        images = max(1, count)
        return cls(rarity.radius(min(_RAREST, _COPY / images)), rarity.radius(_LIKELY / images))

    def verdict(self, distance: int) -> str:
        """Return one of `VERDICTS`."""
        return VERDICTS[(distance > self.copy) + (distance > self.likely)]
