"""Images as pixels in an array: (n, H, W), (n, H, W, 3) or (n, 3, H, W), uint8."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import MAX_PIXELS

_AT_ONCE = 1 << 24  # bytes
_CHANNELS = 3
_OTHER_CHANNELS = {1: "one channel", 2: "two channels", 4: "four channels"}


def batch_shape(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Return the shape of an array as a batch: one picture, (H, W) or (H, W, 3), is a batch of one.

    Raises ValueError if an array of this shape and type does not hold images, or is ambiguous: (H, W, 4) may be a
    picture with transparency, or H narrow grey ones; (3, H, W) a picture with its channels first, or three grey ones.
    """
    if dtype == np.uint8 and len(shape) == 3 and shape[2] in _OTHER_CHANNELS:
        raise ValueError(f"{_described(shape, dtype)}: {_OTHER_CHANNELS[shape[2]]}: convert to RGB, (H, W, 3)")
    if dtype == np.uint8 and len(shape) == 3 and shape[0] == _CHANNELS != shape[2]:
        raise ValueError(
            f"{_described(shape, dtype)}: transpose a picture to (H, W, 3), or pass a batch as (n, H, W, 3)"
        )
    if dtype != np.uint8:
        raise ValueError(f"{_described(shape, dtype)}: pixels must be uint8, from 0 to 255; convert them")
    batch = (1, *shape) if len(shape) == 2 or (len(shape) == 3 and shape[2] == _CHANNELS) else shape
    check(batch, dtype)
    return batch


def check(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise ValueError if an array of this shape and type does not hold images."""
    coloured = len(shape) == 4 and _CHANNELS in (shape[1], shape[3])
    if dtype != np.uint8 or not (coloured or len(shape) == 3) or 0 in shape[1:]:
        raise ValueError(f"{_described(shape, dtype)}: not (n, H, W), (n, H, W, 3) or (n, 3, H, W) uint8")
    if size(shape) > MAX_PIXELS * (_CHANNELS if coloured else 1):
        raise ValueError(f"images of more than {MAX_PIXELS} pixels")


def _described(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    return f"({', '.join(map(str, shape))}) {dtype}"


def size(shape: tuple[int, ...]) -> int:
    """Return the number of bytes in an image."""
    return int(np.prod(shape[1:], dtype=object))


def at_once(shape: tuple[int, ...]) -> int:
    """Return the number of images to read at a time."""
    return max(1, _AT_ONCE // size(shape))


def channels_last(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image (H, W), (H, W, 3) or (3, H, W) as (H, W) or (H, W, 3)."""
    return image if image.ndim == 2 or image.shape[2] == _CHANNELS else image.transpose(1, 2, 0)
