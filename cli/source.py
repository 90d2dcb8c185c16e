"""The images a command works on."""

from pathlib import Path

from transhash.sources import decode
from transhash.sources.decode import Source

from . import render


def find(folder: Path, names: Path | None) -> Source:
    """Return the images of a folder, or those that a list names, and say what was found."""
    source = decode.listed(folder, names) if names else decode.folder(folder)
    others = f"; {source.others} other files passed over" if source.others else ""
    render.note(f"{len(source.images)} images in {folder}{others}")
    return source
