"""Images in .npy files."""

from collections.abc import Iterator
from io import BufferedReader

import numpy as np

from . import pixels
from .base import Item

_MAX_HEADER = 10_000  # bytes, as in numpy


def count(path: str) -> int:
    """Return the number of images. Raises ValueError if the file does not contain images."""
    with open(path, "rb") as file:
        return _shape(file)[0]


def rows(path: str, name: bytes) -> Iterator[Item]:
    """Yield the images of an array, or its single image; the name of a row is ``<name>/<number>``, from 0.

    The file is read, not mapped, because a mapped file that is truncated meanwhile crashes the process.

    Raises ValueError if the file holds no images, or is cut off.
    """
    with open(path, "rb") as file:
        shape = _shape(file)
        size = pixels.size(shape)
        for row in range(shape[0]):
            data = file.read(size)
            if len(data) < size:
                raise ValueError(f"cut off after {row} of {shape[0]} images")
            image = np.frombuffer(data, np.uint8).reshape(shape[1:])
            yield Item(b"%s/%d" % (name, row), (), pixels.channels_last(image))


def _shape(file: BufferedReader) -> tuple[int, ...]:
    """Read the header. Raises ValueError if the array does not hold images."""
    try:
        version = np.lib.format.read_magic(file)
    except ValueError:
        raise ValueError("not an array that NumPy saved") from None
    if version != (1, 0) and int.from_bytes(file.peek(4)[:4], "little") > _MAX_HEADER:
        raise ValueError("a header that is too long")  # numpy would read it first
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, by_columns, dtype = read(file)
    except OSError:
        raise
    except Exception:  # NumPy parses the header as Python, which can fail in many ways
        raise ValueError("the header is damaged") from None
    if by_columns:
        raise ValueError("in Fortran order; save numpy.ascontiguousarray of it")
    return pixels.batch_shape(shape, dtype)
