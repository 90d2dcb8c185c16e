"""A contact sheet: queries on the left, their matches beside them."""

from pathlib import Path
from typing import Any

import click
from PIL import Image, ImageDraw, ImageFont, ImageOps

from transhash import files
from transhash.errors import ImageError
from transhash.sources import decode

_SIDE = 128
_GAP = 8
_CAPTION = 18
_COLUMNS = 12  # the query and at most eleven matches
_ROWS = 100


def check_replaceable(output: Path, queries: tuple[Path, ...]) -> None:
    """Fail if anything but an earlier sheet, a PNG that is no query, stands at `output`."""
    if not output.exists():
        return
    if output.is_file() and not any(output.samefile(query) for query in queries):
        with output.open("rb") as file:
            if file.read(8) == b"\x89PNG\r\n\x1a\n":
                return
    raise click.UsageError(f"{output}: exists and is not an earlier sheet; choose another output")


def draw(answers: list[dict[str, Any]], output: Path) -> None:
    """Draw the answers of `th query` as a PNG: at most 100 queries with 11 matches each."""
    answers = answers[:_ROWS]
    columns = min(_COLUMNS, 1 + max((len(answer["matches"]) for answer in answers), default=0))
    width = columns * (_SIDE + _GAP) + 2 * _GAP
    height = len(answers) * (_SIDE + _CAPTION + _GAP) + _GAP
    sheet = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=12)
    for row, answer in enumerate(answers):
        cells = [(answer["query"], "query")]
        cells += [(match["path"], f"distance {match['distance']}") for match in answer["matches"][: columns - 1]]
        top = _GAP + row * (_SIDE + _CAPTION + _GAP)
        for column, (path, caption) in enumerate(cells):
            left = _GAP + column * (_SIDE + _GAP) + (_GAP if column else 0)
            sheet.paste(_thumbnail(path), (left, top))
            pen.text((left, top + _SIDE + 1), caption, fill="black", font=font)
    with files.replacing(output) as temporary:
        sheet.save(temporary, format="PNG")


def _thumbnail(path: str) -> Image.Image:
    try:
        image = decode.read(path)
    except ImageError:
        return Image.new("RGB", (_SIDE, _SIDE), "lightgrey")
    return ImageOps.pad(image, (_SIDE, _SIDE), Image.Resampling.BICUBIC, color="white")
