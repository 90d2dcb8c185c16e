"""A contact sheet: each query on the left, its matches beside it."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

from ..errors import ImageError
from ..sources import decode

_SIDE = 128
_GAP = 8
_CAPTION = 18
_COLUMNS = 12  # the query and at most eleven matches
_ROWS = 100


def draw(queries: Sequence[str], matches: Sequence[Sequence[tuple[str, int]]]) -> Image.Image:
    """Draw query images with the paths and distances of their matches: at most 100 queries with 11 matches each.

    Images that cannot be read are grey.
    """
    rows = list(zip(queries, matches, strict=True))[:_ROWS]
    columns = min(_COLUMNS, 1 + max((len(found) for _, found in rows), default=0))
    size = columns * (_SIDE + _GAP) + 2 * _GAP, len(rows) * (_SIDE + _CAPTION + _GAP) + _GAP
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=12)
    for row, (query, found) in enumerate(rows):
        cells = [(query, "query")]
        cells += [(path, f"distance {distance}") for path, distance in found[: columns - 1]]
        top = _GAP + row * (_SIDE + _CAPTION + _GAP)
        for column, (path, caption) in enumerate(cells):
            left = _GAP + column * (_SIDE + _GAP) + (_GAP if column else 0)
            sheet.paste(_thumbnail(path), (left, top))
            pen.text((left, top + _SIDE + 1), caption, fill="black", font=font)
    return sheet


def _thumbnail(path: str) -> Image.Image:
    try:
        image = decode.read(path)
    except ImageError:
        return Image.new("RGB", (_SIDE, _SIDE), "lightgrey")
    return ImageOps.pad(image, (_SIDE, _SIDE), Image.Resampling.BICUBIC, color="white")
