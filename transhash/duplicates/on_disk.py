"""The files of rows: which rows are the same file, which files are missing, and which have changed since encoding."""

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..codes import UNKNOWN, Records
from ..errors import SelectionError
from ..system.files import display


class State(StrEnum):
    """The state of an image file since it was encoded."""

    PRESENT = "present"
    ARCHIVED = "archived"  # a member of an archive or a table that exists
    UNVERIFIED = "unverified"  # exists, but its size or time at encoding is unknown
    CHANGED = "changed"
    MISSING = "missing"


@dataclass
class ImageFile:
    """A file and its rows.

    Attributes:
        rows: positions of its rows, ascending; the first one represents it.
        paths: the path of each row; links and other names of the file differ.
        state: whether the file exists and is known to be unchanged.
        size: current size in bytes; -1 if the file is missing.
        mtime: time of its last change in nanoseconds; -1 if unknown.
        linked: which of `paths` are symbolic links.
        names: number of its names on the disk (hard links), also those that no row has.
    """

    rows: list[int]
    paths: list[bytes]
    state: State
    size: int
    mtime: int
    linked: list[bool]
    names: int = 1

    def frees(self, paths: Iterable[bytes]) -> int:
        """Return the bytes that removing some of its paths frees: none while the file keeps another name."""
        gone = set(paths)
        real = [path for path, linked in zip(self.paths, self.linked, strict=True) if not linked and path in gone]
        if not real or self.size < 0:
            return 0
        count = 1 if len(real) == 1 else len(set(map(entry_of, real)))
        return self.size if count >= self.names else 0


def entry_of(path: bytes) -> bytes:
    """Return a path without links to folders: equal for two paths of the same entry of a folder."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))


def files_of(rows: NDArray[np.int64], codes: NDArray[np.uint8], records: Records) -> list[ImageFile]:
    """Return the files of rows, ordered by their first row.

    Rows with the same device and inode are one file: links, hard links, and a file that is listed twice. If the codes
    of its rows differ, at least one is out of date, and the file counts as changed.

    Args:
        rows: (m,) positions for `ImageFile.rows`.
        codes: (m, bits/8) uint8, their codes.
        records: their m records.
    """
    by_key: dict[object, ImageFile] = {}
    first: dict[object, int] = {}
    sizes, mtimes = _known(records.sizes, len(rows)), _known(records.mtimes, len(rows))
    for index, (row, path) in enumerate(zip(rows.tolist(), records.full_paths(), strict=True)):
        key, file = _inspect(path, sizes[index], mtimes[index])
        if key not in by_key:
            by_key[key], first[key] = file, index
            file.rows.append(row)
            continue
        known = by_key[key]
        known.rows.append(row)
        known.paths.append(path)
        known.linked += file.linked
        if file.state is State.UNVERIFIED and known.state is State.PRESENT:
            known.state = State.UNVERIFIED
        if file.state is State.CHANGED or (codes[index] != codes[first[key]]).any():
            known.state = State.CHANGED
    return list(by_key.values())


def inside(files: Sequence[ImageFile], folders: Iterable[str | Path], what: str) -> NDArray[np.bool_]:
    """Return which files are inside one of the folders, (m,) bool; a link counts by its own path and its target's.

    Raises SelectionError if a folder does not exist; `what` names the option.
    """
    roots = set()
    for folder in map(os.fsencode, folders):
        if not os.path.isdir(folder):
            raise SelectionError(f"{what} {display(folder)}: not a folder")
        roots |= {os.path.abspath(folder), os.path.realpath(folder)}
    if not roots:
        return np.zeros(len(files), np.bool_)
    prefixes = tuple(os.path.join(root, b"") for root in roots)

    def lies_in(path: bytes) -> bool:
        return os.path.abspath(path).startswith(prefixes) or os.path.realpath(path).startswith(prefixes)

    return np.array([any(map(lies_in, file.paths)) for file in files], np.bool_)


def _inspect(path: bytes, size: int, mtime: int) -> tuple[object, ImageFile]:
    """Return the identity of the file at a path, and the file; `size` and `mtime` are from when it was encoded."""
    try:
        now = os.lstat(path)
        if linked := stat.S_ISLNK(now.st_mode):
            now = os.stat(path)
    except NotADirectoryError:
        return _member(path, size, mtime)
    except (OSError, ValueError):
        return path, _missing(path)
    if not stat.S_ISREG(now.st_mode):
        return path, _missing(path)
    same = size in (UNKNOWN, now.st_size) and mtime in (UNKNOWN, now.st_mtime_ns)
    state = State.UNVERIFIED if UNKNOWN in (size, mtime) else State.PRESENT
    if not same or not now.st_size:  # no image is empty
        state = State.CHANGED
    file = ImageFile([], [path], state, now.st_size, now.st_mtime_ns, [linked], now.st_nlink)
    return _identity(now, path), file


def _missing(path: bytes) -> ImageFile:
    return ImageFile([], [path], State.MISSING, UNKNOWN, UNKNOWN, [False])


def _identity(found: os.stat_result, path: bytes) -> object:
    """Return the identity of a file, which its links, hard links and other names share."""
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(path)


def _member(path: bytes, size: int, mtime: int) -> tuple[object, ImageFile]:
    """Describe a member of an archive, which is a file among the parents of its path.

    A row with a size comes from a separate file. If one of its parents is a file now, it is missing.
    """
    archive = os.path.dirname(path)
    while archive and not os.path.exists(archive):
        archive = os.path.dirname(archive)
    try:
        found = os.stat(archive)
    except OSError:
        return path, _missing(path)
    if size != UNKNOWN or not stat.S_ISREG(found.st_mode) or not found.st_size:
        return path, _missing(path)
    identity = (_identity(found, archive), os.path.normpath(path[len(archive) :]))
    return identity, ImageFile([], [path], State.ARCHIVED, size, mtime, [False])


def _known(values: NDArray[np.int64] | None, count: int) -> list[int]:
    return [UNKNOWN] * count if values is None else values.tolist()
