"""The images a command works on."""

from pathlib import Path

from transhash.sources import ImageList, list_images, passed_over

from . import render


def find(images: Path, names: Path | None) -> ImageList:
    """List the images of any source, and say what was found."""
    found = list_images(images, names)
    ignored = passed_over(found)
    render.note(f"{len(found.images)} images in {images}{f'; passed over: {ignored}' if ignored else ''}")
    return found
