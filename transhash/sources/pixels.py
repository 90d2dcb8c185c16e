"""Images as pixels in an array: (n, H, W), (n, H, W, 3) or (n, 3, H, W), uint8."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import MAX_PIXELS

_AT_ONCE = 1 << 24  # bytes
_CHANNELS = 3


def is_single(shape: tuple[int, ...]) -> bool:
    """Return whether an array of this shape is one picture, (H, W) or (H, W, 3), rather than a batch.

    Raises ValueError if that cannot be told: (H, W, 4) may be a picture with transparency, or H narrow grey ones.
    """
    if len(shape) == 3 and shape[2] in (1, 2, 4):
        axes = ", ".join(map(str, shape))
        raise ValueError(f"({axes}): {shape[2]} channels; convert the picture to (H, W) or (H, W, 3) uint8")
    return len(shape) == 2 or (len(shape) == 3 and shape[2] == _CHANNELS)


def check(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raise ValueError if an array of this shape and type does not hold images."""
    coloured = len(shape) == 4 and _CHANNELS in (shape[1], shape[3])
    if dtype != np.uint8 or not (coloured or len(shape) == 3) or 0 in shape[1:]:
        axes = ", ".join(map(str, shape))
        raise ValueError(f"({axes}) {dtype}: not (n, H, W), (n, H, W, 3) or (n, 3, H, W) uint8")
    if size(shape) > MAX_PIXELS * (_CHANNELS if coloured else 1):
        raise ValueError(f"images of more than {MAX_PIXELS} pixels")


def size(shape: tuple[int, ...]) -> int:
    """Return the bytes of an image."""
    return int(np.prod(shape[1:], dtype=object))


def at_once(shape: tuple[int, ...]) -> int:
    """Return how many images to read at a time."""
    return max(1, _AT_ONCE // size(shape))


def channels_last(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image (H, W), (H, W, 3) or (3, H, W) as (H, W) or (H, W, 3)."""
    return image if image.ndim == 2 or image.shape[2] == _CHANNELS else image.transpose(1, 2, 0)
