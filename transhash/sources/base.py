"""The interface of image sources: the items that they yield or skip."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

    from .cache import Cached

MAX_PIXELS = 178_956_970  # 512 MiB as RGB; for larger images, Pillow raises DecompressionBombError
MAX_ENCODED = 1 << 27  # bytes of an encoded image in an archive or table; a larger one is skipped


HIDDEN = "hidden"  # the key of hidden files in `ignored`


@dataclass(frozen=True, slots=True)
class Item:
    """An image to decode, and the row that it will become.

    Attributes:
        path: the name of the row as bytes; relative to the root of the source unless absolute.
        labels: the classes of the image; empty if it has none.
        data: the encoded image, its pixels (H, W) or (H, W, 3) uint8, a PIL image, or a reference to the cache;
            None for a file at `path`. Two items are compared without their data.
        size: bytes of the file at `path`; -1 if there is no file or its size is unknown.
        mtime: when the file was last modified, in nanoseconds since 1970; -1 if unknown.
    """

    path: bytes
    labels: tuple[str, ...] = ()
    data: bytes | NDArray[np.uint8] | Image.Image | Cached | None = field(default=None, repr=False, compare=False)
    size: int = -1
    mtime: int = -1


class Described:
    """A base class of sources that are printed as their description."""

    description: str

    def __repr__(self) -> str:
        """Return one line."""
        return f"<{type(self).__name__}: {self.description}>"


@dataclass(frozen=True, slots=True)
class Skipped:
    """A path that yields no row, and the reason."""

    path: bytes
    reason: str


@runtime_checkable
class ImageSource(Protocol):
    """Images from any kind of storage, read in order, in memory that does not grow with their number."""

    @property
    def root(self) -> bytes:
        """The folder that relative paths start from, as bytes; empty for the working directory."""

    @property
    def description(self) -> str:
        """One line for people, such as "images in photos/"."""

    def __iter__(self) -> Iterator[Item | Skipped]:
        """Yield every item once: the same items in the same order each time.

        Raises SourceError if the source as a whole can no longer be read.
        """

    def count(self) -> int | None:
        """Return the number of items, including skipped ones, or None if counting takes about as long as decoding."""


@runtime_checkable
class Divisible(Protocol):
    """A source of files with many images each, which can be divided by files."""

    @property
    def files(self) -> int:
        """The number of files."""

    def subset(self, which: slice) -> ImageSource:
        """Return a source of the selected files, with the same root."""


@runtime_checkable
class Selective(Protocol):
    """A source that can skip images without accessing their files, which is slow over a network."""

    def every(self, start: int, step: int) -> Iterator[Item | Skipped]:
        """Yield every `step`-th item, starting with item number `start`, counted from 0."""


def file_item(root: bytes, path: bytes, labels: tuple[str, ...]) -> Item | Skipped:
    """Return the item of a file, with its size and time, or the reason why it cannot be read."""
    try:
        status = os.stat(os.path.join(root, path))
    except OSError as error:
        return Skipped(path, error.strerror or "cannot be opened")
    except ValueError:
        return Skipped(path, "a path with a null byte")
    if not stat.S_ISREG(status.st_mode):  # opening a pipe or a device could block forever
        return Skipped(path, "folder" if stat.S_ISDIR(status.st_mode) else "not a regular file")
    return Item(path, labels, None, status.st_size, _time(status.st_mtime_ns))


def ignored_files(source: ImageSource) -> Counter[str]:
    """Return the number of files that a source ignored, by suffix; empty for most kinds of sources."""
    return Counter(getattr(source, "ignored", ()))


def origins(source: ImageSource) -> tuple[bytes, ...] | None:
    """Return the names of what a source reads, which distinguish it from others with the same root, or None.

    Names of files are relative to its root unless absolute; ``.`` stands for the folder itself.
    """
    return getattr(source, "origins", None)


def passed_over(source: ImageSource) -> str:
    """Describe the files that a source ignored, such as "3 hidden, 12 .heic"; empty if there are none.

    Available after the source has been read.
    """
    return ", ".join(f"{count:,} {kind}" for kind, count in ignored_files(source).most_common())


def counted(count: int) -> str:
    """Return a number of images as text: "1 image", "12,345 images"."""
    return f"{count:,} image{'s' * (count != 1)}"


def _time(mtime: int) -> int:
    """Return a modification time, or -1 if it does not fit into 64 bits, such as one in the year 2500."""
    return mtime if -(2**63) <= mtime < 2**63 else -1
