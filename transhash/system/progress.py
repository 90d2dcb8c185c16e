"""Progress callbacks."""

from collections.abc import Callable

Progress = Callable[[int, int], object]
"""Called with the number of items done so far and the total, which is 0 while it is unknown."""


def silent(done: int, total: int) -> None:
    """Ignore progress."""
