"""A contact sheet: queries on the left, their matches beside them."""

from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from transhash import files
from transhash.errors import ImageError
from transhash.sources import decode

_PNG = b"\x89PNG\r\n\x1a\n"
_SIDE = 128
_GAP = 8
_CAPTION = 18
_COLUMNS = 12  # the query and at most eleven matches
_ROWS = 100


def check_replaceable(output: Path, queries: tuple[Path, ...]) -> None:
    """Raise OutputError if `output` exists and is not an earlier sheet: a PNG that is not one of the queries."""

    def is_ours(there: Path) -> bool:
        return files.begins_with(there, _PNG) and not any(there.samefile(query) for query in queries)

    files.check_replaceable(output, is_ours, "an earlier sheet")


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
