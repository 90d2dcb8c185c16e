"""The demo's photographs, which come with the package, and edited copies of them."""

import shutil
from dataclasses import dataclass
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np

from ..datasets.edits import EDITS
from ..sources import decode

ATTRIBUTION = "ATTRIBUTION.md"
MADE = (
    *("mirrored", "tilted", "crop to a third", "stickers", "meme", "border"),
    *("screenshot", "collage", "JPEG 5", "colours", "48 pixels", "three edits"),
)
SEED = 0


@dataclass(frozen=True)
class Copy:
    """An edited copy.

    Attributes:
        edit: the edit that made it, one of `MADE`.
        photo: the name of its original, such as ``cat.jpg``.
    """

    edit: str
    photo: str

    @classmethod
    def of(cls, path: str | Path) -> "Copy":
        """Return the copy in a file that `write` wrote."""
        return cls(Path(path).parent.name.replace("-", " "), Path(path).name)

    @property
    def path(self) -> Path:
        """Where `write` writes it, relative to the folder of copies."""
        return Path(self.edit.replace(" ", "-"), self.photo)


def names() -> list[str]:
    """Return the names of the photographs."""
    return sorted(entry.name for entry in _packaged().iterdir() if entry.name != ATTRIBUTION)


def write(photos: Path, copies: Path) -> None:
    """Write the photographs, the list of their authors beside that folder, and a copy of each for every edit.

    The copies are the same in every run: each has its own random generator.
    """
    shutil.rmtree(photos, ignore_errors=True)
    shutil.rmtree(copies, ignore_errors=True)
    with as_file(_packaged()) as packaged:
        shutil.copytree(packaged, photos, ignore=shutil.ignore_patterns(ATTRIBUTION))
        shutil.copyfile(packaged / ATTRIBUTION, photos.parent / ATTRIBUTION)
    images = {name: decode.read(photos / name) for name in names()}
    for number, edit in enumerate(MADE):
        for place, (name, image) in enumerate(images.items()):
            others = [other for key, other in images.items() if key != name]
            path = copies / Copy(edit, name).path
            path.parent.mkdir(parents=True, exist_ok=True)
            EDITS[edit](image, np.random.default_rng([SEED, number, place]), others).save(path, quality=90)


def examples() -> list[Copy]:
    """Return one copy for every edit, of different photographs, drawn with the seed."""
    photos = names()
    drawn = np.random.default_rng(SEED).permutation(len(photos))[: len(MADE)]
    return [Copy(edit, photos[place]) for edit, place in zip(MADE, drawn.tolist(), strict=True)]


def _packaged() -> Traversable:
    return files(__package__) / "photos"
