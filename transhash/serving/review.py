"""The images chosen for removal: exported as a list, or moved to the system's trash."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from ..codes import check_query_model
from ..errors import SelectionError, TransHashError, one_line
from ..sources import decode
from ..system.files import display
from .encoder import QueryEncoder
from .files import ImageFolder
from .queries import QueryError
from .snapshot import Snapshot

MOST_TRASHED = 100  # files of a request: each is decoded and hashed, and the client waits

_TOLERANCE = 32  # a file is unchanged if its code differs by at most one bit in so many: networks differ by rounding


@dataclass(frozen=True)
class Chosen:
    """An image that is to go: its path in the index and in full."""

    id: int
    path: bytes
    full: bytes


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
        Chosen(id, image.path, _full(folder, image.path))
        for id, image in zip(numbers.tolist(), snapshot.shown(numbers), strict=True)
    ]


def size_of(folder: ImageFolder, images: Sequence[Chosen]) -> int:
    """Return the bytes of the files that are there."""
    total = 0
    for image in images:
        with suppress(SelectionError), folder.opened(image.path) as (_, found):
            total += found.st_size
    return total


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
) -> tuple[list[tuple[Chosen, int]], list[Failed]]:
    """Move the files of images to the trash of the system, and return those that went, with sizes, and the rest.

    A file goes only if it is a regular file inside the image folder, not a link, and still has the code that the
    index holds.
    """
    import send2trash

    gone, failed = [], []
    for image in chosen(snapshot, folder, ids):
        try:
            size = _checked(snapshot, folder, encoder, image)
            send2trash.send2trash(os.fsdecode(image.full))
        except (TransHashError, OSError) as error:
            failed.append(Failed(image.id, image.path, one_line(error)))
        else:
            gone.append((image, size))
    return gone, failed


def _checked(snapshot: Snapshot, folder: ImageFolder, encoder: QueryEncoder, image: Chosen) -> int:
    """Return the bytes of a file. Raises SelectionError unless it is as it was encoded."""
    if os.path.islink(image.full):
        raise SelectionError("a link, not a file")
    hasher = encoder.hasher
    check_query_model(hasher.ref, snapshot.model, "the index")
    with folder.opened(image.path) as (file, found):
        pixels = hasher.preprocess(decode.read_file(file))
    now = hasher.encode(pixels[None])[0, : snapshot.model.bits // 8]
    apart = np.bitwise_count(now ^ snapshot.codes(np.array([image.id], np.int64))[0]).sum()
    if apart > snapshot.model.bits // _TOLERANCE:
        raise SelectionError("has changed since it was encoded")
    return found.st_size


def _full(folder: ImageFolder, path: bytes) -> bytes:
    return path if folder.root is None else folder.full_path(path)
