"""Decode an image to RGB, or raise an error with the reason."""

import io
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from ..errors import ImageError, TransHashError, one_line
from . import heif, jpeg, png
from .base import MAX_PIXELS, Item, Skipped, file_item
from .budget import reserved
from .cache import Cached

_DECODERS = ("Avif", "Bmp", "Gif", "Jpeg", "Mpo", "Png", "Tiff", "WebP")
for _name in _DECODERS:  # importing a decoder registers it; `Image.init` would import those that are not used, too
    with suppress(ImportError):
        import_module(f"PIL.{_name}ImagePlugin")
FORMATS = tuple(name.upper() for name in _DECODERS if name.upper() in Image.OPEN)  # what Pillow was built with

_STRIP = 1 << 18  # pixels converted at a time
_MAX_SCANNED = 1 << 31  # pixels times scans: 3 seconds of one core
_MAX_RUNS = 1 << 24  # bytes of a run-length encoded bitmap, which Pillow decodes in Python
# Memory that decoding needs, in bytes per pixel, including the RGB image:
_BYTES = {"WEBP": 18, "AVIF": 16, "HEIF": 16}
_OTHER_BYTES = 8  # in other formats Pillow stores 4 bytes per pixel, and rotates or converts to a copy
_COEFFICIENTS = 6  # additional bytes for a JPEG file with several scans
_MAX_LAYERS = 8  # how many times the tiles of an image may cover it: up to five bands are stored separately
_PLACES = ((324, 273), (325, 279))  # tags of TIFF: offsets and sizes of tiles and strips
_GREYS = {"1": 255, "L;2": 85, "L;4": 17}  # modes of PNG's pixels, and the factor that scales their values to 8 bits
_BORDER = 96  # bytes for each row and column: Pillow's pointers to rows, and the filter of a resized copy
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_THEIR_SIDE = tuple(_TURNS[orientation] for orientation in (5, 6, 7, 8))

Pixels = np.ndarray[Any, np.dtype[Any]]


def read(path: str | bytes | Path, draft: int | None = None) -> Image.Image:
    """Read an image file as an upright RGB image.

    Reads the first frame of an animation, applies EXIF rotation, blends transparency over white, and scales 16-bit
    grey to 8 bits. Only `FORMATS` are supported, because some of Pillow's other decoders run external programs.

    With `draft`, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, as long as both sides have at least twice
    `draft` pixels: this is faster, and nearly the same after scaling to `draft` pixels.

    Raises ImageError, with the reason, if it is not a readable image of at most `MAX_PIXELS` pixels.
    """
    item = file_item(b"", os.fsencode(path), ())
    if isinstance(item, Skipped):
        raise ImageError(item.reason)
    return open_item(b"", item, draft)


def read_file(file: BinaryIO, draft: int | None = None) -> Image.Image:
    """Read an open image file as `read` does. Raises ImageError."""
    with ExitStack() as memory, _reasons("damaged image"):
        return _decode(file, draft, memory)


def dimensions(file: BinaryIO) -> tuple[int, int]:
    """Return width and height of the upright image in an open file, without decoding its pixels.

    Raises ImageError, with the reason, if it is not an image of a known format.
    """
    with _reasons("damaged image"):
        image, _, _ = _identified(file)
        at_hand = image.format != "PNG" or "exif" in image.info  # else Pillow decodes a PNG to look for them
        turned = at_hand and _turn(image) in _ON_THEIR_SIDE
        return (image.height, image.width) if turned else image.size


def open_item(root: bytes, item: Item, draft: int | None = None) -> Image.Image:
    """Return the image of a source's item, processed as by `read`, from its file, its bytes or its pixels.

    Raises ImageError, with the reason, if it is not a readable image of at most `MAX_PIXELS` pixels.
    """
    with ExitStack() as memory:
        return _open(root, item, draft, memory)


def prepare(root: bytes, item: Item, preprocess: Callable[[Image.Image], Pixels]) -> Pixels:
    """Decode and preprocess an item, within the memory limit that all threads share (`budget`).

    Raises ImageError if either fails, including for lack of memory.
    """
    with ExitStack() as memory:
        image = _open(root, item, None, memory)
        with _reasons("cannot be preprocessed"):
            return preprocess(image)


def _open(root: bytes, item: Item, draft: int | None, memory: ExitStack) -> Image.Image:
    """Decode an item; its memory stays reserved until `memory` is closed."""
    data = item.data.load() if isinstance(item.data, Cached) else item.data
    with _reasons("damaged image"):
        if data is None:
            with open(os.path.join(root, item.path), "rb", opener=_without_waiting) as file:
                return _decode(file, draft, memory)
        if isinstance(data, bytes):
            return _decode(io.BytesIO(data), draft, memory)
        if isinstance(data, Image.Image):
            return _picture(data, memory)
        return _from_pixels(data)


def _without_waiting(path: str | bytes, flags: int) -> int:
    """Open a file without blocking, in case a pipe has replaced it since it was checked."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _from_pixels(pixels: Pixels) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or pixels.shape[2:] not in ((), (3,)) or not pixels.size:
        raise ImageError(f"pixels {pixels.shape} {pixels.dtype}, not (H, W) or (H, W, 3) uint8")
    _check_size(pixels.shape[1], pixels.shape[0])
    return Image.fromarray(pixels).convert("RGB")


@contextmanager
def _reasons(failure: str) -> Iterator[None]:
    """Convert any exception to an ImageError with the reason."""
    try:
        yield
    except TransHashError:
        raise
    except MemoryError as error:
        raise ImageError("not enough memory") from error
    except OSError as error:
        if error.errno is None:  # Pillow raises OSError for a damaged image; one from the system has a number
            raise ImageError(f"{failure}: {one_line(error)}") from error
        raise ImageError(error.strerror or one_line(error)) from error
    except Exception as error:  # Pillow's decoders may raise anything on a damaged file
        raise ImageError(f"{failure}: {type(error).__name__}: {one_line(error)}") from error


def _identified(file: BinaryIO) -> tuple[Image.Image, BinaryIO, int]:
    """Read the header of an image file; return the image, the file to read it from, and its number of scans."""
    head = file.read(12)
    if not head:
        raise ImageError("empty file")
    formats = (*FORMATS, *heif.formats(head))
    scans = jpeg.scans(file) if head.startswith(jpeg.SIGNATURE) else 1
    if head.startswith(png.SIGNATURE):
        file = png.essential_chunks(file)
    file.seek(0)
    image = _opened(file, formats)
    _check_size(image.width, image.height)
    return image, file, scans


def _decode(file: BinaryIO, draft: int | None, memory: ExitStack) -> Image.Image:
    image, file, scans = _identified(file)
    if draft is not None:
        image.draft(None, (2 * draft, 2 * draft))
    _check_work(image, file, scans)
    memory.enter_context(reserved(_needed(image, scans)))
    _scale_transparency(image)
    image.load()
    turn, rgb = _turn(image), _rgb(image)
    del image  # frees memory for the rotated copy
    return _turned(rgb, turn)


def _opened(file: BinaryIO, formats: Sequence[str]) -> Image.Image:
    """Read the header of an image file like `Image.open`, which would warn about sizes that are allowed here."""
    head = file.read(16)
    for name in formats:
        factory, accepts = Image.OPEN[name]
        with suppress(SyntaxError, IndexError, TypeError, struct.error):
            accepted = accepts(head) if accepts else True
            if accepted and not isinstance(accepted, str):  # a text names what Pillow was built without
                file.seek(0)
                return factory(file, "")
    if heif.starts(head) and not heif.installed():
        raise ImageError(heif.MISSING)
    raise ImageError("not an image of a known format")


def _picture(image: Image.Image, memory: ExitStack) -> Image.Image:
    """Convert a PIL image to upright RGB."""
    _check_size(image.width, image.height)
    memory.enter_context(reserved(_needed(image, 1)))
    return _turned(_rgb(image), _turn(image))


def _needed(image: Image.Image, scans: int) -> int:
    """Estimate the memory for decoding and preprocessing, in bytes."""
    each = _BYTES.get(image.format or "", _OTHER_BYTES) + (_COEFFICIENTS if scans > 1 else 0)
    return each * image.width * image.height + _BORDER * (image.width + image.height)


def _check_work(image: Image.Image, file: BinaryIO, scans: int) -> None:
    """Raise ImageError for a file that would take minutes to decode."""
    pixels = image.width * image.height
    if isinstance(image, TiffImageFile):
        scans = _scans_of_strips(image, file)
    if scans * pixels > _MAX_SCANNED:
        raise ImageError(f"takes too long to decode: {scans} scans of {image.width} x {image.height} pixels")
    tiles = getattr(image, "tile", [])
    if sum((right - left) * (low - top) for _, (left, top, right, low), *_ in tiles) > _MAX_LAYERS * pixels:
        raise ImageError("takes too long to decode: its tiles overlap many times")
    if any(codec == "bmp_rle" for codec, *_ in tiles) and file.seek(0, io.SEEK_END) > _MAX_RUNS:
        raise ImageError(f"takes too long to decode: a run-length coded bitmap of more than {_MAX_RUNS:,} bytes")


def _scans_of_strips(image: TiffImageFile, file: BinaryIO) -> int:
    """Return the largest number of JPEG scans in a strip or tile of a TIFF file; 1 for other compression."""
    if image.info.get("compression") not in ("jpeg", "tiff_jpeg"):
        return 1
    starts, sizes = (_numbers(image.tag_v2.get(tile) or image.tag_v2.get(strip)) for tile, strip in _PLACES)
    parts = set(zip(starts, sizes, strict=False))
    if sum(size for _, size in parts) > 2 * file.seek(0, io.SEEK_END):
        raise ImageError("takes too long to decode: its tiles overlap in the file")
    most = 1
    for start, size in parts:
        file.seek(start)
        most = max(most, jpeg.count(file.read(size)))
    return most


def _numbers(value: Any) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else () if value is None else (value,)


def _scale_transparency(image: Image.Image) -> None:
    """Scale the transparent colour of a PNG to the bit depth of the pixels, which Pillow does not do."""
    colour = image.info.get("transparency")
    depth = str(image.tile[0].args) if isinstance(image, PngImageFile) and image.tile else ""
    if isinstance(colour, int) and depth in _GREYS:
        image.info["transparency"] = colour * _GREYS[depth]
    elif isinstance(colour, tuple) and depth == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in colour)


def _turned(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return image if turn is None else image.transpose(turn)


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width} x {height}: more than {MAX_PIXELS} pixels")


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return the transposition that makes an image upright, by its EXIF data."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # damaged EXIF data does not make the picture unreadable
        return None


def _rgb(image: Image.Image) -> Image.Image:
    """Convert to RGB strip by strip, because the intermediate modes of a large image would need too much memory."""
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    rgb = Image.new("RGB", image.size)
    low, high = _range(image)
    for box in _strips(image):
        strip = image.crop(box)
        if _is_deep(image):
            strip = _eight_bit(strip, low, high, image.info.get("transparency"))
        rgb.paste(_over_white(strip) if strip.has_transparency_data else strip.convert("RGB"), box)
    return rgb


def _strips(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    columns = min(image.width, _STRIP)
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):
        for left in range(0, image.width, columns):
            yield left, top, min(left + columns, image.width), min(top + rows, image.height)


def _is_deep(image: Image.Image) -> bool:
    """Return whether an image is greyscale with more than 8 bits."""
    return image.mode.startswith("I") or image.mode == "F"


def _range(image: Image.Image) -> tuple[float, float]:
    """Return the values that become black and white: the 16-bit range for integers, the actual range for floats."""
    if image.mode != "F":
        return 0.0, 65535.0
    ranges = [(float(values.min()), float(values.max())) for values in map(_values, map(image.crop, _strips(image)))]
    return min(low for low, _ in ranges), max(high for _, high in ranges)


def _eight_bit(strip: Image.Image, low: float, high: float, transparent: object) -> Image.Image:
    values = _values(strip)
    scaled = (values - low) / max(high - low, 1e-12) * 255
    if isinstance(transparent, int):
        scaled[values == transparent] = 255
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))


def _values(strip: Image.Image) -> Pixels:
    """Return the values of a strip as float64, so that float32 values cannot overflow."""
    return np.nan_to_num(np.asarray(strip, dtype=np.float32)).astype(np.float64)


def _over_white(strip: Image.Image) -> Image.Image:
    over_white = Image.new("RGBA", strip.size, "white")
    over_white.alpha_composite(strip.convert("RGBA"))
    return over_white.convert("RGB")
