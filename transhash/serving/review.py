"""What a person chose to remove: as a list, or moved to the trash of the system."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import SelectionError, TransHashError, one_line
from ..sources import decode
from ..system.files import display
from .encoder import QueryEncoder
from .files import ImageFolder
from .queries import QueryError
from .snapshot import Snapshot

FORMATS = ("lines", "nul", "json")

_TOLERANCE = 32  # a file is unchanged if its code differs by at most one bit in so many: networks differ by rounding


@dataclass(frozen=True)
class Chosen:
    """An image that is to go: its path in the index and in full, and the bytes of its file, 0 if it is not there."""

    id: int
    path: bytes
    full: bytes
    size: int


@dataclass(frozen=True)
class Failed:
    """An image that was not moved, and the reason."""

    id: int
    path: bytes
    reason: str


def chosen(snapshot: Snapshot, folder: ImageFolder, ids: Sequence[int]) -> list[Chosen]:
    """Return the images with the ids, each once. Raises SelectionError for an id that is not in the index."""
    numbers = np.array(list(dict.fromkeys(ids)), np.int64)
    return [
        Chosen(id, image.path, _full(folder, image.path), folder.facts(image.path).size or 0)
        for id, image in zip(numbers.tolist(), snapshot.shown(numbers), strict=True)
    ]


def listing(images: Sequence[Chosen], null: bool) -> bytes:
    """Return the full paths, one per line or, with `null`, each followed by a NUL byte.

    Raises QueryError without `null` for a path that contains a line break: a reader would take it for two.
    """
    for image in images:
        if not null and (b"\n" in image.full or b"\r" in image.full):
            raise QueryError(f"{display(image.path)}: a line break in a name; choose the format nul")
    return b"".join(image.full + (b"\0" if null else b"\n") for image in images)


def trash(
    snapshot: Snapshot, folder: ImageFolder, encoder: QueryEncoder, ids: Sequence[int]
) -> tuple[list[Chosen], list[Failed]]:
    """Move the files of images to the trash of the system, and return those that went and those that did not.

    A file goes only if it is a regular file inside the image folder, not a link, and still has the code that the
    index holds.
    """
    import send2trash

    gone, failed = [], []
    for image in chosen(snapshot, folder, ids):
        try:
            _check(snapshot, folder, encoder, image)
            send2trash.send2trash(os.fsdecode(image.full))
        except (TransHashError, OSError) as error:
            failed.append(Failed(image.id, image.path, one_line(error)))
        else:
            gone.append(image)
    return gone, failed


def _check(snapshot: Snapshot, folder: ImageFolder, encoder: QueryEncoder, image: Chosen) -> None:
    """Raise SelectionError unless the file is as it was encoded."""
    if os.path.islink(image.full):
        raise SelectionError("a link, not a file")
    hasher = encoder.hasher
    with folder.opened(image.path) as (file, _):
        pixels = hasher.preprocess(decode.read_file(file))
    now = hasher.encode(pixels[None])[0, : snapshot.model.bits // 8]
    apart = np.bitwise_count(now ^ snapshot.codes(np.array([image.id], np.int64))[0]).sum()
    if apart > snapshot.model.bits // _TOLERANCE:
        raise SelectionError("has changed since it was encoded")


def _full(folder: ImageFolder, path: bytes) -> bytes:
    return path if folder.root is None else folder.full_path(path)
