"""Where images come from: a folder, a list, files, or archives and tables that hold many."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import SourceError
from .base import ImageSource, Item, Skipped
from .folder import Folder
from .isolated import IsolatedReader
from .lists import STDIN, Files, PathList
from .names import is_image
from .shards import Shards
from .share import Share

__all__ = ["ImageSource", "Item", "Share", "Skipped", "open_source"]

_KINDS = {
    ".tar": "tar",
    ".tar.gz": "tar",
    ".tgz": "tar",
    ".parquet": "parquet",
    ".npy": "npy",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
}
_SHARDS = ("tar", "parquet")  # kinds of which a folder may be full


def open_source(
    where: str | Path | Sequence[str | Path],
    *,
    names: str | Path | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    null: bool = False,
) -> ImageSource:
    """Open what holds images, by what it is.

    Args:
        where: a folder of images, or of tar or Parquet files alone; image files; tar, Parquet, .npy or HDF5 files; or
            ``-``, a list on standard input.
        names: a list of images below the folder `where`, or below the working directory if that is empty; ``-`` is
            standard input.
        include: patterns of which a folder's images must match one.
        exclude: patterns of which they must match none.
        null: what is listed ends in NUL bytes.

    Raises SourceError if that is nothing of the kind, or cannot be opened.
    """
    places = [where] if isinstance(where, str | Path) else list(where)
    if names is None and [str(place) for place in places] == [STDIN]:
        places, names = [], STDIN
    if null and names is None:
        raise SourceError("NUL bytes end what is listed: give a list")
    if (include or exclude) and (names is not None or not _is_folder(places)):
        raise SourceError("patterns choose among the files in a folder: give one, and no list")
    if names is not None:
        if places and not _is_folder(places):
            raise SourceError(f"{places[0]}: not a folder; give the one that the paths of {names} start from")
        return PathList(places[0] if places else os.curdir, names, null)
    if not places:
        raise SourceError("no images given: name a folder, files, or a list")
    if _is_folder(places):
        kind = "" if include or exclude else _full_of(places[0])
        if not kind:
            return Folder(places[0], include, exclude)
        places = sorted(Path(places[0]).iterdir())
    else:
        kind = _common_kind(places)
    if kind == "image":
        return Files(places, os.curdir)
    return Shards(places) if kind == "tar" else IsolatedReader(kind, places)


def _is_folder(places: Sequence[str | Path]) -> bool:
    return len(places) == 1 and os.path.isdir(places[0])


def _full_of(folder: str | Path) -> str:
    """Return the kind of shards that are all that lies in a folder, or nothing."""
    found = ""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            kind = _kind(entry.name)
            if kind not in _SHARDS or found not in ("", kind):
                return ""
            found = kind
    return found


def _common_kind(places: Sequence[str | Path]) -> str:
    """Return what kind some files are of. Raises SourceError if there is none, or more than one."""
    for place in places:
        if os.path.isdir(place):
            raise SourceError(f"{place}: a folder among other things; give one folder, or files")
        if not os.path.isfile(place):
            missing = "not a regular file" if os.path.exists(place) else "no such file or folder"
            raise SourceError(f"{place}: {missing}; name a folder of images, or files")
        if not _kind(place):
            known = " ".join(_KINDS)
            raise SourceError(f"{place}: neither an image nor one of {known} by its name; a list goes with --list")
        if _kind(place) != _kind(places[0]):
            raise SourceError(f"{places[0]} and {place}: of two kinds; encode them one after the other")
    return _kind(places[0])


def _kind(place: str | Path) -> str:
    name = os.fsencode(place).lower()
    found = (kind for suffix, kind in _KINDS.items() if name.endswith(suffix.encode()))
    return next(found, "image" if is_image(name) else "")
