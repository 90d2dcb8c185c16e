"""The files behind rows: which rows are one file, which files are gone, and which have changed since encoding."""

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
    """What became of an image file after it was encoded."""

    PRESENT = "present"
    ARCHIVED = "archived"  # a member of an archive or a table, which is there
    CHANGED = "changed"
    MISSING = "missing"


@dataclass
class ImageFile:
    """A file, and the rows that were made from it.

    Attributes:
        rows: positions of its rows, ascending; the first stands for it.
        paths: the path of each row: links and other names of one file differ.
        state: whether the file is there, and as it was encoded.
        size: bytes now; -1 if the file is not there.
        mtime: nanoseconds of its last change; -1 if not known.
    """

    rows: list[int]
    paths: list[bytes]
    state: State
    size: int
    mtime: int


def files_of(rows: NDArray[np.int64], codes: NDArray[np.uint8], records: Records) -> list[ImageFile]:
    """Return the files of rows, ordered by their first row.

    Rows are one file if their device and inode are equal: links, hard links, and a file that is listed twice. If the
    codes of its rows differ, at least one is out of date, and the file counts as changed.

    Args:
        rows: (m,) positions that `ImageFile.rows` will hold.
        codes: (m, bits/8) uint8, their codes.
        records: their m records.
    """
    found: dict[object, ImageFile] = {}
    first: dict[object, int] = {}
    sizes, mtimes = _known(records.sizes, len(rows)), _known(records.mtimes, len(rows))
    for place, (row, path) in enumerate(zip(rows.tolist(), records.full_paths(), strict=True)):
        key, file = _look(path, sizes[place], mtimes[place])
        if key not in found:
            found[key], first[key] = file, place
            file.rows.append(row)
            continue
        known = found[key]
        known.rows.append(row)
        known.paths.append(path)
        if file.state is State.CHANGED or (codes[place] != codes[first[key]]).any():
            known.state = State.CHANGED
    return list(found.values())


def mark_stale(files: Sequence[ImageFile], records: Records) -> None:
    """Mark files that have further rows, with other codes than theirs: some of their rows are out of date.

    Only needed where the size and time of a file are not known: with them, rows that are out of date differ.

    Args:
        files: the files of the rows in clusters.
        records: the records of all other rows.
    """
    by_identity = {
        _identity(os.stat(path), path): file
        for file in files
        if file.state is State.PRESENT
        for path in file.paths[:1]
        if os.path.exists(path)
    }
    for path in records.full_paths() if by_identity else ():
        try:
            file = by_identity.get(_identity(os.stat(path), path))
        except (OSError, ValueError):
            continue
        if file:
            file.state = State.CHANGED


def inside(files: Sequence[ImageFile], folders: Iterable[str | Path], what: str) -> NDArray[np.bool_]:
    """Return which files lie in one of the folders, (m,) bool; links count for both of their ends.

    Raises SelectionError if a folder is not there; `what` names the option.
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


def _look(path: bytes, size: int, mtime: int) -> tuple[object, ImageFile]:
    """Return what identifies the file at a path, and the file; `size` and `mtime` are those when it was encoded."""
    try:
        now = os.stat(path)
    except NotADirectoryError:
        return _member(path, size, mtime)
    except (OSError, ValueError):
        return path, ImageFile([], [path], State.MISSING, UNKNOWN, UNKNOWN)
    if not stat.S_ISREG(now.st_mode):
        return path, ImageFile([], [path], State.MISSING, UNKNOWN, UNKNOWN)
    same = size in (UNKNOWN, now.st_size) and mtime in (UNKNOWN, now.st_mtime_ns)
    state = State.PRESENT if same and now.st_size else State.CHANGED  # no image is empty
    return _identity(now, path), ImageFile([], [path], state, now.st_size, now.st_mtime_ns)


def _identity(found: os.stat_result, path: bytes) -> object:
    """Return the identity that links, hard links and other names of a file share."""
    return (found.st_dev, found.st_ino) if found.st_ino else os.path.realpath(path)


def _member(path: bytes, size: int, mtime: int) -> tuple[object, ImageFile]:
    """Describe a member of an archive: a parent of its path is a file.

    A row with a size was made from a file, whose folder a file has replaced: it is missing.
    """
    archive = os.path.dirname(path)
    while archive and not os.path.exists(archive):
        archive = os.path.dirname(archive)
    try:
        found = os.stat(archive)
    except OSError:
        return path, ImageFile([], [path], State.MISSING, UNKNOWN, UNKNOWN)
    if size != UNKNOWN or not stat.S_ISREG(found.st_mode) or not found.st_size:
        return path, ImageFile([], [path], State.MISSING, UNKNOWN, UNKNOWN)
    identity = (_identity(found, archive), os.path.normpath(path[len(archive) :]))
    return identity, ImageFile([], [path], State.ARCHIVED, size, mtime)


def _known(values: NDArray[np.int64] | None, count: int) -> list[int]:
    return [UNKNOWN] * count if values is None else values.tolist()
