"""What a source of images yields: items to decode, and names of what cannot be."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

MAX_PIXELS = 178_956_970  # 512 MiB as RGB, the size at which Pillow itself suspects a decompression bomb
MAX_ENCODED = 1 << 27  # bytes of an encoded image that lies among others; a larger one is skipped


@dataclass(frozen=True, slots=True)
class Item:
    """An image to decode, and the row it will have.

    Attributes:
        path: the row's name as bytes; relative to the source's root unless absolute.
        labels: its classes; empty if it has none.
        data: the encoded image, or its pixels (H, W) or (H, W, 3) uint8; None for a file at `path`. Items are equal
            whatever their data.
        size: bytes of the file at `path`; -1 if there is none or it is unknown.
        mtime: when that file was changed last, in nanoseconds since 1970; -1 if unknown.
    """

    path: bytes
    labels: tuple[str, ...] = ()
    data: bytes | NDArray[np.uint8] | None = field(default=None, repr=False, compare=False)
    size: int = -1
    mtime: int = -1


@dataclass(frozen=True, slots=True)
class Skipped:
    """A path that yields no row, and why."""

    path: bytes
    reason: str


@runtime_checkable
class ImageSource(Protocol):
    """Images, wherever they lie: read in order, and in memory that does not grow with their number."""

    @property
    def root(self) -> bytes:
        """The folder that relative paths start from, as bytes; empty for the working directory."""

    @property
    def description(self) -> str:
        """One line for people, such as "images in photos/"."""

    def __iter__(self) -> Iterator[Item | Skipped]:
        """Yield every item once: the same ones, in the same order, each time.

        Raises SourceError if the source as a whole cannot be read any more.
        """

    def count(self) -> int | None:
        """Return how many there are, with those skipped, or None if telling takes about as long as decoding them."""


@runtime_checkable
class Divisible(Protocol):
    """A source of files with many images each, of which some can be left to others."""

    @property
    def files(self) -> int:
        """How many they are."""

    def some(self, which: slice) -> ImageSource:
        """Return the source of some of them, with the same root."""


@runtime_checkable
class Selective(Protocol):
    """A source that can pass over images without looking at their files, which takes long over a network."""

    def every(self, start: int, step: int) -> Iterator[Item | Skipped]:
        """Yield every `step`-th item, from the one at place `start`, counted from 0."""


def file_item(root: bytes, path: bytes, labels: tuple[str, ...]) -> Item:
    """Return the item of a file, with its size and time; both unknown if there is none at `path`."""
    try:
        status = os.stat(os.path.join(root, path))
    except (OSError, ValueError):  # the one who opens it says why; ValueError: a path with a NUL byte
        return Item(path, labels)
    return Item(path, labels, None, status.st_size, status.st_mtime_ns)


def counted(count: int) -> str:
    """Return a number of images in words: "1 image", "12,345 images"."""
    return f"{count:,} image{'s' * (count != 1)}"
