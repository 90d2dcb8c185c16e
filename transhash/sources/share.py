"""A share of a source, for one of several machines that encode side by side."""

from collections.abc import Iterator
from itertools import islice

from .base import ImageSource, Item, Skipped


class Share:
    """Every `shares`-th item of a source, from the one at place `number`, counted from 0."""

    def __init__(self, source: ImageSource, number: int, shares: int) -> None:
        """Take a share of `source`, 0 <= number < shares."""
        self._source = source
        self._number = number
        self._shares = shares

    @property
    def root(self) -> bytes:
        """The folder that relative paths start from: the source's."""
        return self._source.root

    @property
    def description(self) -> str:
        """One line for people."""
        return f"{self._source.description}, share {self._number} of 0 to {self._shares - 1}"

    def __iter__(self) -> Iterator[Item | Skipped]:
        """Yield the items, without decoding those in between."""
        return islice(iter(self._source), self._number, None, self._shares)

    def count(self) -> int | None:
        """Return how many there are, or None if the source does not know."""
        whole = self._source.count()
        return None if whole is None else len(range(self._number, whole, self._shares))
