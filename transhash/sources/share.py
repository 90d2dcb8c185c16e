"""A share of a source, for each of several machines that encode in parallel."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice

from .base import Described, Divisible, ImageSource, Item, Selective, Skipped, ignored_files, origins


class Share(Described):
    """Every `shares`-th item of a source, starting with item `number`, counted from 0.

    If the source reads at least `shares` files, the files are divided instead, so that each is read only once.

    Attributes:
        place: number of the share, as I/N.
    """

    def __init__(self, source: ImageSource, number: int, shares: int) -> None:
        """Take a share of `source`, 0 <= number < shares."""
        self.place = f"{number}/{shares}"
        self.description = f"{source.description}, share {number} of 0 to {shares - 1}"
        self.origins = origins(source)
        self._source = source
        self._slice = slice(number, None, shares)
        if isinstance(source, Divisible) and source.files >= shares:
            self._source = source.subset(self._slice)
            self._slice = slice(None)

    @property
    def root(self) -> bytes:
        """The folder that relative paths start from: the source's."""
        return self._source.root

    @property
    def ignored(self) -> Counter[str]:
        """Number of files that the source ignored, by suffix."""
        return ignored_files(self._source)

    def __iter__(self) -> Iterator[Item | Skipped]:
        """Yield the items, without decoding those in between."""
        start, step = self._slice.start or 0, self._slice.step or 1
        if isinstance(self._source, Selective):
            return self._source.every(start, step)
        return islice(iter(self._source), start, None, step)

    def count(self) -> int | None:
        """Return the number of items, or None if the source does not know it."""
        whole = self._source.count()
        return None if whole is None else len(range(whole)[self._slice])
