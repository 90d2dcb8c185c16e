"""Small upright JPEG pictures of the images of an index, kept in memory."""

import io
import os
import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass

from PIL import Image

from ..sources import decode
from .batching import BoundedPool
from .files import ImageFolder
from .monitor import Monitor

SIZES = (64, 128, 256, 512, 1024)

_QUALITY = 82
_CACHE_BYTES = 1 << 26  # bytes of thumbnails in memory
_WAITING = 512


@dataclass(frozen=True)
class Picture:
    """A JPEG file and its entity tag; without data if the client already has the file with this tag."""

    tag: str
    data: bytes | None


class Thumbnails:
    """Makes thumbnails in a few threads of their own."""

    def __init__(self, monitor: Monitor) -> None:
        """Start with an empty cache."""
        self._monitor = monitor
        self._pool = BoundedPool("thumbnail", min(4, os.cpu_count() or 1), _WAITING)
        self._lock = threading.Lock()
        self._held: OrderedDict[tuple[bytes, str], bytes] = OrderedDict()
        self._size = 0

    def get(self, folder: ImageFolder, path: bytes, size: int, known: str = "") -> "Future[Picture]":
        """Return the thumbnail of an image that fits into a square of `size` pixels, one of `SIZES`.

        The data are left out if the tag is among those in `known`, an If-None-Match header.

        The future raises SelectionError if the file is not there, ImageError if it cannot be read. Raises BusyError
        if too many thumbnails are waiting.
        """
        return self._pool.submit(self._get, folder, path, size, known)

    def close(self) -> None:
        """Drop what is waiting."""
        self._pool.close()

    def _get(self, folder: ImageFolder, path: bytes, size: int, known: str) -> Picture:
        with folder.opened(path) as (file, found):
            tag = file_tag(found, size)
            if is_known(tag, known):
                return Picture(tag, None)
            key = folder.full_path(path), tag
            with self._lock:
                if key in self._held:
                    self._held.move_to_end(key)
                    return Picture(tag, self._held[key])
            with self._monitor.timed("thumbnail"):
                image = decode.read_file(file, size)
                image.thumbnail((size, size), Image.Resampling.BICUBIC)
                data = as_jpeg(image)
        self._hold(key, data)
        return Picture(tag, data)

    def _hold(self, key: tuple[bytes, str], data: bytes) -> None:
        with self._lock:
            if key not in self._held:
                self._held[key] = data
                self._size += len(data)
            while self._size > _CACHE_BYTES:
                self._size -= len(self._held.popitem(last=False)[1])


def as_jpeg(image: Image.Image) -> bytes:
    """Return a picture as a JPEG file."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()


def file_tag(found: os.stat_result, size: int = 0) -> str:
    """Return the entity tag of a file, or of its picture of a size."""
    return f'"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}-{size}"'


def is_known(tag: str, known: str) -> bool:
    """Return whether a tag is among those in an If-None-Match header."""
    return any(one.strip().removeprefix("W/") in (tag, "*") for one in known.split(",")) if known else False
