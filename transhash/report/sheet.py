"""Contact sheets: one picture with a strip of thumbnails for each query, its matches beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from ..errors import ImageError
from ..sources import decode

MOST = 12  # thumbnails in a strip: the query and at most eleven matches

_SIDE = 128
_GAP = 8
_LINE = 21  # pixels of a line of text
_FRAME = 3
_GROUND = "#f1f1ef"


@dataclass(frozen=True)
class Thumbnail:
    """An image on a sheet.

    Attributes:
        path: the image file; one that cannot be read is grey.
        caption: text below it.
        frame: colour of its frame; empty for none.
    """

    path: str | Path
    caption: str
    frame: str = ""


@dataclass(frozen=True)
class Strip:
    """A query and its matches.

    Attributes:
        thumbnails: the query, then its matches.
        title: text above them.
        colour: colour of the title.
    """

    thumbnails: Sequence[Thumbnail]
    title: str = ""
    colour: str = "black"


def draw(strips: Sequence[Strip], columns: int = 1) -> Image.Image:
    """Draw strips in `columns` columns, row by row, with at most `MOST` thumbnails each."""
    widest = min(MOST, max((len(strip.thumbnails) for strip in strips), default=1))
    titled = any(strip.title for strip in strips)
    width = widest * (_SIDE + _GAP) + 2 * _GAP
    height = _SIDE + _LINE + _GAP + titled * (_LINE + _GAP // 2)
    rows = -(-len(strips) // columns)
    sheet = Image.new("RGB", (columns * width + (columns - 1) * _GAP, rows * height + _GAP), "white")
    for number, strip in enumerate(strips):
        row, column = divmod(number, columns)
        _draw(sheet, strip, column * (width + _GAP) + (_GAP if titled else 0), _GAP + row * height, titled)
    return sheet


def _draw(sheet: Image.Image, strip: Strip, left: int, top: int, titled: bool) -> None:
    pen = ImageDraw.Draw(sheet)
    if titled:
        pen.text((left, top), strip.title, fill=strip.colour, font=ImageFont.load_default(size=17))
        top += _LINE + _GAP // 2
    font = ImageFont.load_default(size=14)
    for place, thumbnail in enumerate(strip.thumbnails[:MOST]):
        x = left + place * (_SIDE + _GAP) + (_GAP if place else 0)
        border = _FRAME if thumbnail.frame else 0
        if border:
            pen.rectangle((x, top, x + _SIDE - 1, top + _SIDE - 1), fill=thumbnail.frame)
        sheet.paste(_pixels(thumbnail.path, _SIDE - 2 * border), (x + border, top + border))
        pen.text((x, top + _SIDE + 1), thumbnail.caption, fill="black", font=font)


def _pixels(path: str | Path, side: int) -> Image.Image:
    try:
        image = decode.read(path)
    except ImageError:
        return Image.new("RGB", (side, side), "lightgrey")
    return ImageOps.pad(image, (side, side), Image.Resampling.BICUBIC, color=_GROUND)
