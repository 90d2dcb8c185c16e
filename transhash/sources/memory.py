"""Images from Python objects: PIL images, arrays, encoded bytes and paths."""

import io
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import SourceError, one_line
from ..system.files import display
from . import pixels
from .base import MAX_ENCODED, Described, Item, Skipped, counted, file_item

ACCEPTED = (
    "a path, a PIL image, a numpy array of uint8, encoded bytes, an open binary file, an ImageSource, or an iterable "
    "of these"
)


STDIN = b"-"
IN_MEMORY = bytes | bytearray | memoryview | io.IOBase | Image.Image


class MemorySource(Described):
    """Images from Python objects, in order.

    A row is named by its path, or else by its number, from 0; ``-`` for standard input.

    An iterator can be read only once; a list, or any other reusable iterable, any number of times.
    """

    root = b""

    def __init__(self, images: Iterable[Any]) -> None:
        """Take an iterable of PIL images, uint8 arrays, bytes and paths.

        Raises TypeError if a list or tuple holds anything else, and SourceError if it holds a folder; other iterables
        are checked when they are read.
        """
        self._images = images
        self._spent = False
        self._known = len(images) if isinstance(images, list | tuple) else None
        if isinstance(images, list | tuple):
            for place, image in enumerate(images):
                check_type(image, f"image {place}")
        self.description = "images in memory" if self._known is None else f"{counted(self._known)} in memory"
        if self._known == 1 and isinstance(images, list | tuple) and _is_stdin(images[0]):
            self.description = "standard input"

    def __iter__(self) -> Iterator[Item | Skipped]:
        """Yield the images. Raises SourceError if they came from an iterator that was read before."""
        images = iter(self._images)
        if self._spent:
            raise SourceError("the images are an iterator that has been read already; pass a list to read it twice")
        self._spent = images is self._images
        for place, image in enumerate(images):
            check_type(image, f"image {place}")
            yield _item(place, image)

    def count(self) -> int | None:
        """Return the number of images, or None for an iterable of unknown length."""
        return self._known


def check_type(image: object, name: str) -> None:
    """Raise TypeError if an object is not a single image, and SourceError if it is a folder."""
    if not isinstance(image, str | os.PathLike | np.ndarray | IN_MEMORY):
        raise TypeError(f"{name} is a {type(image).__name__}; an image is {ACCEPTED}")
    if isinstance(image, str | os.PathLike) and _is_folder(image):
        raise SourceError(
            f"{name} is a folder, {display(image)!r:.300}; a list holds images, so pass a folder on its own"
        )


def _is_folder(path: str | os.PathLike[str]) -> bool:
    try:
        return os.path.isdir(path)
    except ValueError:  # a null byte
        return False


def from_array(array: "np.ndarray[Any, Any]") -> MemorySource:
    """Return the images in an array: one (H, W) or (H, W, 3), or a batch (n, H, W, 3), (n, 3, H, W) or (n, H, W).

    Raises SourceError for any other shape or type, and for (3, H, W), which is a picture in torch's layout or three
    grey ones.
    """
    try:
        batch = array.reshape(pixels.batch_shape(array.shape, array.dtype))
    except ValueError as error:
        raise SourceError(f"array {error}") from None
    return MemorySource([pixels.channels_last(image) for image in batch])


def _contents(file: Any, name: str) -> bytes:
    """Read an open file. Raises TypeError if it was opened as text, SourceError if it cannot be read."""
    try:
        data = file.read(MAX_ENCODED + 1)
    except (OSError, ValueError) as error:
        raise SourceError(f"{name}: the file cannot be read ({one_line(error)})") from None
    if not isinstance(data, bytes):
        raise TypeError(f"{name} is a file opened as text; open it in binary mode, 'rb'")
    if len(data) > MAX_ENCODED:
        raise SourceError(f"{name}: a file of more than {MAX_ENCODED >> 20} MiB")
    return data


def _is_stdin(image: Any) -> bool:
    return sys.stdin is not None and image is getattr(sys.stdin, "buffer", None)


def _item(place: int, image: Any) -> Item | Skipped:
    name = STDIN if _is_stdin(image) else b"%d" % place
    if isinstance(image, str | os.PathLike):
        return file_item(b"", os.path.normpath(os.fsencode(Path(image))), ())
    if isinstance(image, io.IOBase):
        image = _contents(image, "standard input" if name == STDIN else f"image {place}")
    data = bytes(image) if isinstance(image, bytearray | memoryview) else image
    return Item(name, (), data)
