"""Encoded images and pixels in a temporary file, for sources that can only be read in order."""

import os
import tempfile
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import ImageError, SourceError


class CacheFile:
    """A temporary file of images, which can be read in any order and by any thread or process.

    It is removed together with this object. A copy in another process reads the same file.
    """

    def __init__(self) -> None:
        """Create the file in the folder for temporary files (TMPDIR)."""
        descriptor, self._path = tempfile.mkstemp(prefix="transhash-images-")
        os.close(descriptor)
        self._size = 0
        weakref.finalize(self, _remove, self._path, os.getpid())

    def add(self, data: bytes | NDArray[np.uint8]) -> "Cached":
        """Append an image. Raises SourceError if there is no space left."""
        content = data if isinstance(data, bytes) else np.ascontiguousarray(data).tobytes()
        try:
            with open(self._path, "ab") as file:
                file.write(content)
        except OSError as error:
            folder = os.path.dirname(self._path)
            raise SourceError(
                f"{folder}: {error.strerror} while caching images; set TMPDIR to a folder with more space"
            ) from None
        start, self._size = self._size, self._size + len(content)
        return Cached(self, start, len(content), None if isinstance(data, bytes) else data.shape)

    def read(self, start: int, size: int) -> bytes:
        """Return `size` bytes from `start`. Raises ImageError if they no longer exist."""
        try:
            with open(self._path, "rb") as file:
                file.seek(start)
                data = file.read(size)
        except OSError as error:
            raise ImageError(f"its cached copy is gone: {error.strerror}") from None
        if len(data) < size:
            raise ImageError("its cached copy is cut off")
        return data


@dataclass(frozen=True, slots=True)
class Cached:
    """An image in a cache file, either encoded or as pixels of `shape`."""

    file: CacheFile
    start: int
    size: int
    shape: tuple[int, ...] | None

    def load(self) -> bytes | NDArray[np.uint8]:
        """Read the image back. Raises ImageError if it no longer exists."""
        data = self.file.read(self.start, self.size)
        return data if self.shape is None else np.frombuffer(data, np.uint8).reshape(self.shape)


def _remove(path: str, process: int) -> None:
    """Remove the file, in the process that created it; a forked one has a copy of the object, too."""
    if os.getpid() == process:
        Path(path).unlink(missing_ok=True)
