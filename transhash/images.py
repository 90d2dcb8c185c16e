"""Images as they come: found in folders and lists, decoded to RGB, and skipped with a reason if they cannot be."""

import codecs
import os
import stat
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import ImageError, SourceError

Image.init()  # makes Pillow load its decoders, so that those it was built without can be left out
FORMATS = tuple(name for name in ("AVIF", "BMP", "GIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP") if name in Image.OPEN)
SUFFIXES = (".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
MAX_PIXELS = 178_956_970  # 512 MiB as RGB, the size at which Pillow itself suspects a decompression bomb
CLASSES = "classes.txt"  # beside a list: the names of its columns
_MAX_LIST_BYTES = 1 << 32
_BITS = frozenset((b"0", b"1"))

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
class Skipped:
    """A path that yields no row, and why."""

    path: bytes
    reason: str


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
    """Find the images under a folder, ordered by path.

    A file is an image if its name ends in one of `SUFFIXES`. Its label is the first folder below `root` on the
    way to it, if there is one. Links to files are followed, links to folders are not: they may lead in circles.

    Raises SourceError if `root` is no folder or cannot be listed.
    """
    start = os.fsencode(os.path.abspath(root))
    if not os.path.isdir(start):
        raise SourceError(f"{root}: not a folder; name a folder of images")
    images: list[ImageFile] = []
    skipped: list[Skipped] = []
    others = 0

    def unreadable(error: OSError) -> None:
        if error.filename == start:
            raise SourceError(f"{root}: cannot be listed ({error.strerror}); check its permissions")
        skipped.append(Skipped(os.path.relpath(error.filename, start), f"folder: {error.strerror}"))

    for parent, folders, names in os.walk(start, onerror=unreadable):
        folders.sort()
        below = os.path.relpath(parent, start)
        prefix = b"" if below == b"." else below
        for name in folders:
            if os.path.islink(os.path.join(parent, name)):
                skipped.append(Skipped(os.path.join(prefix, name), "link to a folder: not followed"))
        for name in sorted(names):
            if not name.lower().endswith(tuple(suffix.encode() for suffix in SUFFIXES)):
                others += 1
                continue
            path = os.path.join(prefix, name)
            images.append(ImageFile(path, _folder_labels(path)))
    return Source(start, images, skipped, others)


def listed(root: str | Path, names: str | Path) -> Source:
    """Take the images that a text file lists: one path a line, relative to `root` unless absolute.

    If every line ends in the same number of zeros and ones, two or more and set apart by blanks, they are the image's
    classes, as in the lists of the hashing literature: the names are the lines of ``classes.txt`` beside the list, or
    else ``0``, ``1`` and so on. In any other list a line is a path, and labels are those that `folder` would give.
    Blank lines are passed over, repeated paths kept.

    Raises SourceError if the list cannot be read, is empty, or does not go with its ``classes.txt``.
    """
    lines = _lines(names, "name a text file with one path a line")
    if not lines:
        raise SourceError(f"{names}: lists no paths; write one a line, relative to {root}")
    multi_hot = _multi_hot(lines)
    if multi_hot is None:
        paths = [os.path.normpath(line) for line in lines]
        found = [ImageFile(path, _folder_labels(path)) for path in paths]
    else:
        classes = _classes(Path(names), len(multi_hot[0][1]))
        labels: dict[tuple[bytes, ...], tuple[str, ...]] = {}  # rows with the same classes share a tuple
        for _, bits in multi_hot:
            if bits not in labels:
                labels[bits] = tuple(name for name, bit in zip(classes, bits, strict=True) if bit == b"1")
        found = [ImageFile(os.path.normpath(path), labels[bits]) for path, bits in multi_hot]
    return Source(os.fsencode(os.path.abspath(root)), found)


def files(paths: Iterable[str | Path]) -> Source:
    """Take the given files, in order, without labels."""
    return Source(b"", [ImageFile(os.fsencode(path)) for path in paths])


def read(path: str | bytes | Path) -> Image.Image:
    """Read an image file as an upright RGB picture.

    The first frame of an animation is taken, EXIF rotation is applied, transparency is laid over white, 16-bit
    grey is scaled to 8 bits. Formats other than `FORMATS` are not tried: some of Pillow's run other programs.

    Raises ImageError, with the reason, for whatever is no readable image of at most `MAX_PIXELS` pixels.
    """
    try:
        mode = os.stat(path).st_mode
        if not stat.S_ISREG(mode):  # opening a pipe or a device could wait for ever
            raise ImageError("folder" if stat.S_ISDIR(mode) else "not a regular file")
        if os.stat(path).st_size == 0:
            raise ImageError("empty file")
        with open(path, "rb") as file:
            return _decode(file)
    except ImageError:
        raise
    except OSError as error:
        if error.errno is None:  # Pillow raises OSError for a damaged image, the system one with a number
            raise ImageError(f"damaged image: {_line(error)}") from error
        raise ImageError(error.strerror or _line(error)) from error
    except Exception as error:  # Pillow's decoders raise anything at all on a damaged file
        raise ImageError(f"damaged image: {type(error).__name__}: {_line(error)}") from error


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


def _folder_labels(path: bytes) -> tuple[str, ...]:
    first, separator, _ = path.partition(os.sep.encode())
    return (first.decode("utf-8", "backslashreplace"),) if separator and first not in (b"", b"..") else ()


def _lines(path: str | Path, mend: str) -> list[bytes]:
    """Return the lines of a text file that are not blank, without a byte order mark."""
    try:
        if os.path.getsize(path) > _MAX_LIST_BYTES:
            raise SourceError(f"{path}: larger than a list of paths can be; split it")
        text = Path(path).read_bytes()
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}; {mend}") from None
    return [line for line in text.removeprefix(codecs.BOM_UTF8).splitlines() if line.strip()]


def _multi_hot(lines: list[bytes]) -> list[tuple[bytes, tuple[bytes, ...]]] | None:
    """Return path and zeros and ones of every line, or None if the lines do not all have as many."""
    width = _trailing_bits(lines[0].split())
    if width < 2:
        return None
    rows = []
    for line in lines:
        path, *bits = line.rsplit(None, width)
        if len(bits) < width or not _BITS.issuperset(bits) or _trailing_bits(path.split()):
            return None
        rows.append((path, tuple(bits)))
    return rows


def _trailing_bits(tokens: list[bytes]) -> int:
    """Return how many zeros and ones come last, after the first token, which belongs to the path."""
    return sum(1 for _ in takewhile(_BITS.__contains__, reversed(tokens[1:])))


def _classes(names: Path, width: int) -> list[str]:
    """Return the names of a list's classes, from ``classes.txt`` beside it if there is one."""
    path = names.with_name(CLASSES)
    if not path.exists():
        return [str(place) for place in range(width)]
    try:
        classes = [line.strip().decode("utf-8") for line in _lines(path, "write one class a line")]
    except UnicodeDecodeError:
        raise SourceError(f"{path}: not UTF-8; write one class a line, in UTF-8") from None
    if len(classes) != width:
        raise SourceError(f"{path}: {len(classes)} classes, but {names.name} has {width} columns; write one for each")
    twice = next((name for name, count in Counter(classes).items() if count > 1), None)
    if twice is not None:
        raise SourceError(f"{path}: {twice!r} stands there twice; give every class a name of its own")
    return classes


def _decode(file: Any) -> Image.Image:
    try:
        image = Image.open(file, formats=FORMATS)
    except Image.DecompressionBombError:
        raise ImageError(f"more than {MAX_PIXELS} pixels") from None
    except UnidentifiedImageError:
        raise ImageError("not an image of a known format") from None
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(f"{image.width} x {image.height}: more than {MAX_PIXELS} pixels")
    image.load()
    return _rgb(_upright(image))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF data do not make the picture unreadable
        return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bit(np.asarray(image)).convert("RGB")
    if image.has_transparency_data:
        over_white = Image.new("RGBA", image.size, "white")
        over_white.alpha_composite(image.convert("RGBA"))
        return over_white.convert("RGB")
    return image.convert("RGB")


def _eight_bit(pixels: Pixels) -> Image.Image:
    """Scale grey of 16 bits or more: integers by their 16-bit range, real numbers by the range they have."""
    values = np.nan_to_num(pixels.astype(np.float32))
    low, high = (0.0, 65535.0) if pixels.dtype.kind in "iu" else (float(values.min()), float(values.max()))
    scaled = (values - low) / max(high - low, 1e-12) * 255
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
