"""Read embeddings of images from a codes file by path, a few at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import CodesError
from ..system.progress import Progress
from . import hdf5
from .guard import guarded
from .reader import CodesFile
from .records import ModelRef

MISSING = -1
_REPORTED = 256  # embeddings read between two reports


class Vectors:
    """Embeddings in an open codes file; `open_vectors` returns them.

    Attributes:
        model: the model that made them.
        rows: the row of each requested path, (m,) int64; -1 if the file does not have it.
    """

    def __init__(self, file: CodesFile, rows: NDArray[np.int64]) -> None:
        """Take an open file, and the rows that were found in it."""
        self._file = file
        self.model: ModelRef = file.header.model
        self.rows = rows

    def read(self, places: NDArray[np.int64]) -> NDArray[np.float16]:
        """Return the embeddings (p, d) of the requested paths at positions (p,), none of which may be missing.

        Raises CodesError if the file is damaged there.
        """
        return self._file.vectors(self.rows[places])


@contextmanager
def open_vectors(path: str | Path, names: Sequence[bytes], likely: Sequence[int]) -> Iterator[Vectors]:
    """Open a codes file to read the embeddings of images by path.

    A child process reads the same data first (`guard`).

    Args:
        path: the codes file.
        names: the paths, joined to their root.
        likely: the row where each is expected; if a path is elsewhere, all rows are searched.

    Raises CodesError if there is no such file, or it is no codes file, damaged, or holds no embeddings.
    """
    path = Path(path)
    hdf5.check_file(path)
    rows = guarded(lambda report: _locate(path, names, likely, report), path)
    with hdf5.opened(path) as file:
        found = CodesFile(file, path)
    try:
        yield Vectors(found, np.array(rows, np.int64))
    finally:
        file.close()


def _locate(path: Path, names: Sequence[bytes], likely: Sequence[int], report: Progress) -> list[int]:
    """Return the row of each path, and read all of their embeddings."""
    with hdf5.opened(path) as file:
        found = CodesFile(file, path)
    if not found.embeddings:
        raise CodesError(f"{path}: holds no embeddings; encode the images again, with --embeddings (embeddings=True)")
    rows = {
        name: row if row < len(found) and _path(found, row) == name else MISSING
        for name, row in zip(names, likely, strict=True)
    }
    if MISSING in rows.values():
        for start, block in found.blocks(embeddings=False):
            for row, name in enumerate(block.records.full_paths(), start):
                if name in rows:
                    rows[name] = row
            report(start + len(block), len(found))
    there = np.array([row for row in rows.values() if row != MISSING], np.int64)
    for start in range(0, len(there), _REPORTED):
        found.vectors(there[start : start + _REPORTED])
        report(len(found), len(found))
    return [rows[name] for name in names]


def _path(file: CodesFile, row: int) -> bytes:
    return next(iter(file.read(row, row + 1, embeddings=False).records.full_paths()))
