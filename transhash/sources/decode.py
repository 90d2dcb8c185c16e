"""Images as they come: decoded to RGB, or skipped with a reason; and held in memory, as training needs them."""

import io
import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from ..errors import ImageError, one_line
from .base import MAX_PIXELS, ImageSource, Item, Skipped, counted, file_item
from .folder import Folder
from .lists import CLASSES, Files, PathList
from .names import SUFFIXES

__all__ = [
    "CLASSES",
    "FORMATS",
    "MAX_PIXELS",
    "SUFFIXES",
    "ImageFile",
    "Skipped",
    "Source",
    "files",
    "folder",
    "listed",
    "load",
    "open_item",
    "read",
]

Image.init()  # makes Pillow load its decoders, so that those it was built without can be left out
FORMATS = tuple(name for name in ("AVIF", "BMP", "GIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP") if name in Image.OPEN)

_STRIP = 1 << 18  # pixels that are converted at a time
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Pixels = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class ImageFile:
    """An image to read.

    Attributes:
        path: its path as bytes, relative to the source's root unless absolute.
        labels: its classes; empty if it has none.
    """

    path: bytes
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """The images of a folder or a list, in the order of their rows.

    Attributes:
        root: the folder that relative paths start from, as bytes; empty for the working directory.
        images: the files to read.
        skipped: what was found to be unusable before reading.
        others: how many files were passed over because their names are not those of images.
    """

    root: bytes
    images: Sequence[ImageFile]
    skipped: Sequence[Skipped] = field(default=())
    others: int = 0

    @property
    def description(self) -> str:
        """One line for people."""
        return counted(len(self.images))

    def __iter__(self) -> Iterator[Item | Skipped]:
        """Yield what could not be used, then the images, as any source does."""
        yield from self.skipped
        for image in self.images:
            yield file_item(self.root, image.path, image.labels)

    def count(self) -> int:
        """Return how many items there are."""
        return len(self.skipped) + len(self.images)

    @property
    def labelled(self) -> bool:
        """Whether any image has a label."""
        return self.most_labels > 0

    @property
    def most_labels(self) -> int:
        """The largest number of labels that an image has."""
        return max((len(image.labels) for image in self.images), default=0)

    def path(self, image: ImageFile) -> str:
        """Return the path of an image as the file system's functions take it."""
        return os.fsdecode(os.path.join(self.root, image.path))


def folder(root: str | Path) -> Source:
    """Find the images under a folder, ordered by path, with the first folder below `root` as label (`Folder`).

    Raises SourceError if `root` is no folder or cannot be listed.
    """
    walk = Folder(root)
    return replace(_held(walk), others=walk.others)


def listed(root: str | Path, names: str | Path) -> Source:
    """Take the images that a text file or a table lists, relative to `root` unless absolute (`PathList`).

    Raises SourceError if the list cannot be read, is empty or broken, or does not go with its ``classes.txt``.
    """
    return _held(PathList(root, names))


def files(paths: Iterable[str | Path]) -> Source:
    """Take the given files, in order, without labels."""
    return _held(Files(paths))


def _held(source: ImageSource) -> Source:
    """Hold a source of files in memory."""
    found: list[ImageFile] = []
    skipped: list[Skipped] = []
    for item in source:
        if isinstance(item, Skipped):
            skipped.append(item)
        else:
            found.append(ImageFile(item.path, item.labels))
    return Source(source.root, found, skipped)


def read(path: str | bytes | Path, draft: int | None = None) -> Image.Image:
    """Read an image file as an upright RGB picture.

    The first frame of an animation is taken, EXIF rotation is applied, transparency is laid over white, 16-bit
    grey is scaled to 8 bits. Formats other than `FORMATS` are not tried: some of Pillow's run other programs.

    With `draft`, a JPEG may be decoded at a half, a quarter or an eighth of its size, as long as both sides keep
    twice as many pixels: before it is scaled down to `draft` pixels, that is faster and nearly the same.

    Raises ImageError, with the reason, for whatever is no readable image of at most `MAX_PIXELS` pixels.
    """
    with _reasons():
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):  # opening a pipe or a device could wait for ever
            raise ImageError("folder" if stat.S_ISDIR(status.st_mode) else "not a regular file")
        with open(path, "rb") as file:
            return _decode(file, draft)


def open_item(root: bytes, item: Item, draft: int | None = None) -> Image.Image:
    """Return the image of a source's item as `read` would: from its file, its bytes or its pixels.

    Raises ImageError, with the reason, for whatever is no readable image of at most `MAX_PIXELS` pixels.
    """
    if item.data is None:
        return read(os.path.join(root, item.path), draft)
    if isinstance(item.data, bytes):
        with _reasons():
            return _decode(io.BytesIO(item.data), draft)
    pixels = item.data
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)) or not pixels.size:
        raise ImageError(f"pixels {pixels.shape} {pixels.dtype}, not (H, W) or (H, W, 3) uint8")
    _check_size(pixels.shape[1], pixels.shape[0])
    return Image.fromarray(pixels).convert("RGB")


def load(
    source: Source, preprocess: Callable[[Image.Image], Pixels], workers: int | None = None
) -> Iterator[tuple[ImageFile, Pixels] | Skipped]:
    """Read and preprocess the images of a source in threads; yield them in order, with a bounded look-ahead.

    Every image comes out exactly once: with its pixels, or as `Skipped` with the reason.
    """
    workers = workers or min(8, os.cpu_count() or 1)

    def one(image: ImageFile) -> tuple[ImageFile, Pixels] | Skipped:
        try:
            return image, preprocess(read(source.path(image)))
        except ImageError as error:
            return Skipped(image.path, str(error))

    images = iter(source.images)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="transhash-load")
    try:
        pending: deque[Future[tuple[ImageFile, Pixels] | Skipped]] = deque(
            pool.submit(one, image) for image in islice(images, 4 * workers)
        )
        while pending:
            yield pending.popleft().result()
            pending.extend(pool.submit(one, image) for image in islice(images, 1))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn whatever is raised into an ImageError with the reason."""
    try:
        yield
    except ImageError:
        raise
    except OSError as error:
        if error.errno is None:  # Pillow raises OSError for a damaged image, the system one with a number
            raise ImageError(f"damaged image: {one_line(error)}") from error
        raise ImageError(error.strerror or one_line(error)) from error
    except Exception as error:  # Pillow's decoders raise anything at all on a damaged file
        raise ImageError(f"damaged image: {type(error).__name__}: {one_line(error)}") from error


def _decode(file: BinaryIO, draft: int | None) -> Image.Image:
    if not file.read(1):
        raise ImageError("empty file")
    file.seek(0)
    try:
        image = Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError:
        raise ImageError(f"more than {MAX_PIXELS} pixels") from None
    except UnidentifiedImageError:
        raise ImageError("not an image of a known format") from None
    _check_size(image.width, image.height)
    if draft is not None:
        image.draft(None, (2 * draft, 2 * draft))
    image.load()
    turn = _turn(image)
    rgb = _rgb(image)
    del image  # makes room for the turned one
    return rgb if turn is None else rgb.transpose(turn)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width} x {height}: more than {MAX_PIXELS} pixels")


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return what makes an image upright, by its EXIF data."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF data do not make the picture unreadable
        return None


def _rgb(image: Image.Image) -> Image.Image:
    """Convert strip by strip: a large image has no room for copies in the modes between its own and RGB."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    rgb = Image.new("RGB", image.size)
    low, high = _range(image)
    for box in _strips(image):
        strip = image.crop(box)
        if _is_deep(image):
            strip = _eight_bit(strip, low, high)
        rgb.paste(_over_white(strip) if strip.has_transparency_data else strip.convert("RGB"), box)
    return rgb


def _strips(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)


def _is_deep(image: Image.Image) -> bool:
    """Return whether an image is grey of more than 8 bits."""
    return image.mode.startswith("I") or image.mode == "F"


def _range(image: Image.Image) -> tuple[float, float]:
    """Return what becomes black and white in deep grey: of integers their 16-bit range, of real numbers their own."""
    if image.mode != "F":
        return 0.0, 65535.0
    ranges = [(float(values.min()), float(values.max())) for values in map(_values, map(image.crop, _strips(image)))]
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _eight_bit(strip: Image.Image, low: float, high: float) -> Image.Image:
    scaled = (_values(strip) - low) / max(high - low, 1e-12) * 255
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


def _values(strip: Image.Image) -> Pixels:
    """Return the numbers of a strip as float64, in which those of float32 cannot overflow."""
    return np.nan_to_num(np.asarray(strip, dtype=np.float32)).astype(np.float64)


def _over_white(strip: Image.Image) -> Image.Image:
    over_white = Image.new("RGBA", strip.size, "white")
    over_white.alpha_composite(strip.convert("RGBA"))
    return over_white.convert("RGB")
