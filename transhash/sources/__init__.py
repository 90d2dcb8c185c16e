"""Image sources: folders, lists, files, archives and tables, or objects in memory."""

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import SourceError
from ..system.arguments import check_path, checked
from . import heif
from .base import ImageSource, Item, Skipped, ignored_files, passed_over
from .folder import FolderSource
from .image_list import ImageList
from .isolated import IsolatedSource
from .lists import STDIN, FilesSource, ListSource
from .memory import ACCEPTED, IN_MEMORY, MemorySource, from_array
from .names import is_hidden, is_image
from .share import Share
from .tar import TarSource

__all__ = [
    "ImageList",
    "ImageSource",
    "Images",
    "Item",
    "Share",
    "Skipped",
    "ignored_files",
    "list_images",
    "open_source",
    "passed_over",
]

Images = str | os.PathLike[str] | bytes | Image.Image | np.ndarray[Any, Any] | ImageSource | Iterable[Any]
"""What `open_source` takes."""

_KINDS = {
    ".tar": "tar",
    ".tar.gz": "tar",
    ".tgz": "tar",
    ".parquet": "parquet",
    ".npy": "npy",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".txt": "list",
    ".csv": "list",
    ".tsv": "list",
}
_SHARDS = ("tar", "parquet")  # kinds of files that are read from a folder without images


@checked
def open_source(
    images: Images,
    *,
    names: str | Path | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    include_hidden: bool = False,
    null: bool = False,
) -> ImageSource:
    """Open anything that holds images.

    Args:
        images: a folder of images, or of tar or Parquet files; one or more image files, tar, Parquet, .npy or HDF5
            files; a list of paths (.txt, .csv, .tsv), or ``-`` for one on standard input; a PIL image; a uint8 array
            (H, W), (H, W, 3) or a batch (n, H, W, 3), (n, 3, H, W) or (n, H, W); the bytes of an encoded image, or
            an open binary file that holds them; an iterable of images, arrays (H, W) or (H, W, 3), bytes and paths of
            images; or an image source, which is returned.
        names: a list of images below the folder `images`, or below the working directory if that is empty; ``-`` is
            standard input.
        include: patterns; an image of a folder must match one of them.
        exclude: patterns; an image of a folder must match none of them.
        include_hidden: whether to read hidden files and folders, and system files, such as
            ``._cat.jpg``, ``.thumbs`` and ``@eaDir``.
        null: whether the paths in the list end in NUL bytes.

    Raises TypeError if `images` is of another type, and SourceError if a file does not exist, its type is unknown, or
    an array is ambiguous: (3, H, W) may be a picture with its channels first, or three grey ones.
    """
    source = _from_object(images)
    places = [] if source else _paths(images)
    for place in places:
        check_path("images", place)
    if names is None and [os.fspath(place) for place in places] == [STDIN]:
        places, names = [], STDIN
    elif names is None and len(places) == 1 and _kind(places[0]) == "list":
        places, names = [], os.fspath(places[0])
    _check_options(source, places, names, include, exclude, null)
    if names is not None:
        return ListSource(places[0] if places else os.curdir, names, null)
    if source is None and len(places) == 1 and os.path.isdir(places[0]):
        return _open_folder(places[0], include, exclude, include_hidden)
    return source or _open_files(places)


def list_images(images: Images, names: str | Path | None = None) -> ImageList:
    """List the images of anything that `open_source` takes, for random access (`ImageList.of`)."""
    return ImageList.of(open_source(images, names=names))


def _from_object(images: object) -> ImageSource | None:
    """Return the source of images in memory, or None if they are paths of files. Raises TypeError for other types."""
    if isinstance(images, np.ndarray):
        return from_array(images)
    if isinstance(images, IN_MEMORY):
        return MemorySource([images])
    if isinstance(images, str | os.PathLike) or _are_paths(images):
        return None
    if isinstance(images, ImageSource):
        return images
    if isinstance(images, Iterable) and not isinstance(images, dict):
        return MemorySource(images)
    raise TypeError(f"images of type {type(images).__name__}; pass {ACCEPTED}")


def _are_paths(images: object) -> bool:
    return isinstance(images, list | tuple) and all(isinstance(image, str | os.PathLike) for image in images)


def _paths(images: Any) -> list[str | Path]:
    return [images] if isinstance(images, str | os.PathLike) else list(images)  # type: ignore[list-item]


def _check_options(
    source: ImageSource | None,
    places: Sequence[str | Path],
    names: str | Path | None,
    include: Sequence[str],
    exclude: Sequence[str],
    null: bool,
) -> None:
    """Raise SourceError for options that do not apply to the images."""
    in_folder = source is None and len(places) == 1 and os.path.isdir(places[0])
    if null and names is None:
        raise SourceError("NUL bytes end the paths in a list: pass a list")
    if (include or exclude) and (names is not None or not in_folder):
        raise SourceError("patterns select the files of a folder: pass a folder, without a list")
    if names is not None and (places or source) and not in_folder:
        where = places[0] if places else "the images"
        raise SourceError(f"{where}: not a folder; pass the folder that the paths of {names} start from")
    if names is None and source is None and not places:
        raise SourceError("no images: pass a folder, files, or a list")


def _open_folder(
    folder: str | Path, include: Sequence[str], exclude: Sequence[str], include_hidden: bool
) -> ImageSource:
    """Open the images in a folder or, if it has none, its tar or Parquet files."""
    images = FolderSource(folder, include, exclude, include_hidden=include_hidden)
    shards = [] if include or exclude else _shards(folder)
    if not shards or next(images.entries(), None):
        return images
    return TarSource(shards) if _kind(shards[0]) == "tar" else IsolatedSource("parquet", shards)


def _shards(folder: str | Path) -> list[Path]:
    """Return the tar files in a folder or, without them, its Parquet files, which may hold metadata of tar files."""
    found: dict[str, list[Path]] = {}
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not is_hidden(os.fsencode(entry.name)):
                found.setdefault(_kind(entry.name), []).append(Path(folder, entry.name))
    return sorted(next((found[kind] for kind in _SHARDS if kind in found), []))


def _open_files(places: Sequence[str | Path]) -> ImageSource:
    """Open files of the same kind. Raises SourceError if their kinds differ or are unknown."""
    kind = _kind(places[0])
    for place in places:
        if kind != "image" or _kind(place) != "image":  # image files are checked when they are read
            _check_file(place, len(places))
        if _kind(place) != kind:
            raise SourceError(f"{places[0]} and {place}: different kinds of files; encode them separately")
    if len(places) == 1:
        _check_file(places[0], 1)
    if kind == "image":
        return FilesSource(places, os.curdir)
    return TarSource(places) if kind == "tar" else IsolatedSource(kind, places)


def _check_file(place: str | Path, count: int) -> None:
    """Raise SourceError unless a path is a file of a known kind."""
    if os.path.isdir(place):
        raise SourceError(f"{place}: a folder among {count} paths; pass one folder, or files")
    if not os.path.isfile(place):
        missing = "not a regular file" if os.path.exists(place) else "no such file or folder"
        raise SourceError(f"{place}: {missing}; pass a folder of images, or files")
    if os.fsencode(place).lower().endswith(tuple(map(str.encode, heif.SUFFIXES))) and not heif.installed():
        raise SourceError(f"{place}: {heif.MISSING}")
    if _kind(place) in ("", "list"):
        known = " ".join(_KINDS)
        raise SourceError(
            f"{place}: by its name, neither an image nor one of {known}; pass a list with --list (names=)"
        )


def _kind(place: str | Path) -> str:
    name = os.fsencode(place).lower()
    found = (kind for suffix, kind in _KINDS.items() if name.endswith(suffix.encode()))
    return next(found, "image" if is_image(name) else "")
