"""List the images that a command works on."""

from pathlib import Path

from transhash.sources import ImageList, list_images, passed_over

from . import render


def find(images: Path, names: Path | None) -> ImageList:
    """List the images of any source, and print their number."""
    listed = list_images(images, names)
    ignored = passed_over(listed)
    render.note(f"{len(listed.images)} images in {images}{f'; ignored: {ignored}' if ignored else ''}")
    return listed
