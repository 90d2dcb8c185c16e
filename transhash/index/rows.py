"""Rows of a collection, and the results of changing them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """The path and labels that a collection stores for an image.

    Attributes:
        path: the image's path.
        labels: its labels; empty if it has none.
    """

    path: str
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Added:
    """The result of `Collection.add`: the number of rows added, and how many of them replaced others."""

    rows: int
    replaced: int


@dataclass(frozen=True)
class Changes:
    """The result of `Collection.sync`: rows added, rows removed, and paths whose code or labels changed."""

    added: int
    removed: int
    changed: int
