"""Thumbnails of image files for pages that hold everything in one file."""

import base64
import io
from pathlib import Path

from PIL import Image, ImageOps

from ..errors import ImageError
from ..sources import decode


def thumbnail(path: str | Path, side: int, *, square: bool = False) -> str:
    """Return a JPEG of an image, at most `side` pixels wide and high, in base64; empty if it cannot be read.

    With `square`, it is cropped to a square.
    """
    try:
        image = decode.read(path, draft=side)
    except ImageError:
        return ""
    if square:
        image = ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)
    else:
        image.thumbnail((side, side), Image.Resampling.BICUBIC)
    small = io.BytesIO()
    image.save(small, format="JPEG", quality=85)
    return base64.b64encode(small.getvalue()).decode()
