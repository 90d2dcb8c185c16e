"""Copies and their originals: generated from a folder of photos, or read from DISC21 or Copydays."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from transhash.datasets.edits import EDITS
from transhash.errors import ResultsError
from transhash.sources import decode
from transhash.sources.names import SUFFIXES

NO_ORIGINAL = -1
_FILLERS = 20  # photos that fill the other places of collages
_BATCH = 100  # copies in memory at once


@dataclass(frozen=True, eq=False)
class Copies:
    """Copies made by one edit.

    Attributes:
        edit: name of the edit.
        images: the copies, in memory or as paths.
        originals: (n,) int64, index of each copy's original; `NO_ORIGINAL` for an image without one.
    """

    edit: str
    images: Sequence[Image.Image | Path]
    originals: NDArray[np.int64]


class CopySet(Protocol):
    """Originals, and copies of some of them.

    Attributes:
        name: name of the data set in results.
        originals: paths of the images to search.
    """

    name: str
    originals: list[Path]

    def copies(self) -> Iterator[Copies]:
        """Yield the copies grouped by edit; an edit may occur more than once."""
        ...


class GeneratedCopies:
    """Copies of photos, made with every edit of `transhash.datasets.edits`.

    Twenty photos only fill the other places of collages and are not searched: a match with one of them would be
    correct, but count as wrong.
    """

    def __init__(self, photos: Path, queries: int, distractors: Path | None, seed: int) -> None:
        """Choose `queries` evenly spaced photos to copy. Raises ResultsError if there are too few photos."""
        found = _images(photos)
        if len(found) < queries + _FILLERS:
            most = len(found) - _FILLERS
            fewer = f"choose --queries {most} or fewer, or " if most > 0 else ""
            raise ResultsError(
                f"{photos}: has {len(found)} of the {queries + _FILLERS} photos needed, {queries} to copy and "
                f"{_FILLERS} for collages; {fewer}give a folder with more photos"
            )
        drawn = np.random.default_rng([seed, 0]).choice(len(found), _FILLERS, replace=False)
        self._fillers = [found[place] for place in sorted(drawn)]
        kept = [path for path in found if path not in set(self._fillers)]
        self._copied = np.arange(queries) * len(kept) // queries
        self.originals = kept + (_images(distractors) if distractors else [])
        self._seed = seed
        self.name = f"{len(self.originals):,} images, {queries * len(EDITS):,} copies"

    def copies(self) -> Iterator[Copies]:
        """Yield the copies, grouped by edit."""
        fillers = [decode.read(path) for path in self._fillers]
        for number, (name, edit) in enumerate(EDITS.items()):
            for start in range(0, len(self._copied), _BATCH):
                places = self._copied[start : start + _BATCH]
                yield Copies(
                    name,
                    [
                        edit(
                            decode.read(self.originals[place]),
                            np.random.default_rng([self._seed, number + 1, int(place)]),
                            fillers,
                        )
                        for place in places
                    ],
                    places,
                )


class Disc21:
    """DISC21 (Douze et al., *The 2021 Image Similarity Dataset and Challenge*): ``references/``, ``queries/`` or
    ``dev_queries/``, and a CSV file of query_id, reference_id whose name contains ``ground_truth``. Queries without
    an original are included.
    """

    def __init__(self, folder: Path) -> None:
        """List the images and read the pairs. Raises ResultsError if a pair names an image that is missing."""
        self.originals = _images(folder / "references")
        queries = next(place for name in ("queries", "dev_queries") if (place := folder / name).is_dir())
        self._queries = _images(queries)
        places = {path.stem: place for place, path in enumerate(self.originals)}
        known = {path.stem: NO_ORIGINAL for path in self._queries}
        truth = _ground_truth(folder)
        with truth.open(newline="") as file:
            for row in csv.reader(file):
                if len(row) == 2 and row[1] and row[0] in known:
                    if row[1] not in places:
                        raise ResultsError(f"{truth}: {row[1]} is not in {folder / 'references'}")
                    known[row[0]] = places[row[1]]
        self._truth = np.array([known[path.stem] for path in self._queries], np.int64)
        self.name = f"DISC21, {len(self.originals):,} images, {len(self._queries):,} queries"

    def copies(self) -> Iterator[Copies]:
        """Yield all queries at once."""
        yield Copies("DISC21", self._queries, self._truth)


class Copydays:
    """INRIA Copydays (Douze et al., CIVR 2009): ``original/``, and copies in ``strong/``, ``crops/P/``, ``jpeg/Q/``.

    The first four digits of a file's name are those of its original.
    """

    def __init__(self, folder: Path) -> None:
        """List the images."""
        self._folder = folder
        self.originals = _images(folder / "original")
        self._places = {path.stem[:4]: place for place, path in enumerate(self.originals)}
        self.name = f"Copydays, {len(self.originals):,} images"

    def copies(self) -> Iterator[Copies]:
        """Yield the copies, folder by folder. Raises ResultsError for a copy without an original."""
        copied = [path for path in _images(self._folder) if path.parent != self._folder / "original"]
        for folder in sorted({path.parent for path in copied}):
            images = [path for path in copied if path.parent == folder]
            for path in images:
                if path.stem[:4] not in self._places:
                    raise ResultsError(f"{path}: no original {path.stem[:4]}00 in {self._folder / 'original'}")
            places = [self._places[path.stem[:4]] for path in images]
            yield Copies(str(folder.relative_to(self._folder)), images, np.array(places, np.int64))


def find(folder: Path, queries: int, distractors: Path | None, seed: int) -> CopySet:
    """Return the copies of DISC21 or Copydays in a folder, or generate copies of its photos."""
    if (folder / "references").is_dir() and _ground_truth(folder).is_file():
        return Disc21(folder)
    if (folder / "original").is_dir():
        return Copydays(folder)
    return GeneratedCopies(folder, queries, distractors, seed)


def opened(image: Image.Image | Path) -> Image.Image:
    """Return an image, reading it if it is a path."""
    return decode.read(image) if isinstance(image, Path) else image


def as_inputs(images: Sequence[Image.Image | Path]) -> Any:
    """Return images in the form that `transhash.encode` accepts."""
    return [str(image) if isinstance(image, Path) else image for image in images]


def _ground_truth(folder: Path) -> Path:
    found = sorted(path for path in folder.glob("*.csv") if "ground" in path.stem and "truth" in path.stem)
    if not found:
        raise ResultsError(f"{folder}: no CSV file of pairs, such as public_ground_truth.csv")
    return found[0]


def _images(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise ResultsError(f"{folder}: no images")
    return found
