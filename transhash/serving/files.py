"""The image files of an index: only files that it holds, and only inside the folder of its images."""

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import SelectionError
from ..system.files import display
from .snapshot import Snapshot

_OPEN = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)  # a pipe does not block


class ImageFolder:
    """The folder that the images of an index are in.

    Attributes:
        root: the folder; None if images are not served.
    """

    def __init__(self, root: bytes | None) -> None:
        """Take the folder; with None there are no files."""
        self.root = root
        self._real = None if root is None else os.path.realpath(root)

    @classmethod
    def of(cls, snapshot: Snapshot, images: Path | None) -> "ImageFolder":
        """Return the folder for an index: `images`, or else the folder that was encoded.

        For an index of several folders, it is the one that they are all in, unless that is the root of the system.
        """
        if images is not None:
            return cls(os.path.abspath(os.fsencode(images)))
        if not snapshot.is_local:
            return cls(None)
        records = snapshot.local.records
        return cls(records.root or _common_folder(records.paths))

    def full_path(self, path: bytes) -> bytes:
        """Return the full path of an image. Raises SelectionError if images are not served."""
        if self.root is None:
            raise SelectionError(
                "the index names no single folder of images; start the server with --images DIR (images=)"
            )
        return os.path.join(self.root, path)

    def open(self, path: bytes) -> tuple[BinaryIO, os.stat_result]:
        """Open the file of an image for reading, and return it with its status; the caller closes it.

        Raises SelectionError if it is not there, is not a regular file, or lies outside the folder, also by a link.
        """
        full = self.full_path(path)
        gone = SelectionError(f"{display(path)}: not in the image folder")
        try:
            handle = os.open(full, _OPEN)
        except (OSError, ValueError):
            raise gone from None
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or not self._holds(full, found):
            os.close(handle)
            raise gone
        return os.fdopen(handle, "rb"), found

    @contextmanager
    def opened(self, path: bytes) -> Iterator[tuple[BinaryIO, os.stat_result]]:
        """Open the file of an image for a block; see `open`."""
        file, found = self.open(path)
        with file:
            yield file, found

    def inside(self, folder: str) -> Path:
        """Return a folder below the image folder. Raises SelectionError for any other."""
        full = os.path.realpath(self.full_path(os.fsencode(folder)))
        if not self._is_below(full) or not os.path.isdir(full):
            raise SelectionError(f"{display(folder)}: not a folder of the images")
        return Path(os.fsdecode(full))

    def in_archive(self, path: bytes) -> bool:
        """Return whether an image, which has no file, is a member of an archive or table."""
        parent = os.path.dirname(self.full_path(path))
        while len(parent) > 1 and not os.path.exists(parent):
            parent = os.path.dirname(parent)
        return os.path.isfile(parent)

    def _holds(self, full: bytes, opened: os.stat_result) -> bool:
        """Return whether the opened file is the one that lies, without links, inside the folder."""
        real = os.path.realpath(full)
        try:
            there = os.stat(real)
        except OSError:
            return False
        return self._is_below(real) and (there.st_dev, there.st_ino) == (opened.st_dev, opened.st_ino)

    def _is_below(self, real: bytes) -> bool:
        assert self._real is not None
        return real == self._real or real.startswith(os.path.join(self._real, b""))


def _common_folder(paths: Iterable[bytes]) -> bytes | None:
    """Return the deepest folder that holds all of the absolute `paths`; None if one is relative, or there is none."""
    first = last = None
    for path in paths:
        if not os.path.isabs(path):
            return None
        first = path if first is None else min(first, path)
        last = path if last is None else max(last, path)
    if first is None or last is None:
        return None
    folder = os.path.commonpath([os.path.dirname(first), os.path.dirname(last)])
    return folder if folder != os.path.dirname(folder) else None
