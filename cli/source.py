"""The images a command works on."""

from pathlib import Path

from transhash.sources import ImageList, list_images

from . import render


def find(images: Path, names: Path | None) -> ImageList:
    """List the images of any source, and say what was found."""
    found = list_images(images, names)
    render.note(f"{len(found.images)} images in {images}")
    return found
