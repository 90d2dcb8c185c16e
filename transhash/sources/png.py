"""Read PNG files without the chunks that are not needed to decode the image.

Text, colour profiles and similar chunks may be long, damaged or a decompression bomb, for which Pillow rejects the
whole image. Short text is kept, because it can contain the orientation.
"""

import io
import zlib
from bisect import bisect_right
from typing import BinaryIO

from ..errors import ImageError

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_ESSENTIAL = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_HELPFUL = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")  # orientation: EXIF, XMP, or EXIF as text
_MAX_TEXT = 1 << 18  # bytes of a useful chunk, unpacked
_MAX_TEXTS = 1 << 24  # bytes of all of them
_MAX_CHUNKS = 1 << 20


def essential_chunks(file: BinaryIO) -> BinaryIO:
    """Return a PNG file reduced to the chunks that are needed.

    Raises ImageError if it has too many chunks.
    """
    size = file.seek(0, io.SEEK_END)
    parts = [(0, len(SIGNATURE))]
    at, helpful = len(SIGNATURE), 0
    for _ in range(_MAX_CHUNKS):
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            break
        length, kind = int.from_bytes(head[:4]), head[4:]
        end = at + 12 + length
        if kind in _ESSENTIAL or not _is_name(kind):  # a damaged file is left to the decoder
            parts.append((at, end))
        elif kind in _HELPFUL and length <= _MAX_TEXT and helpful < _MAX_TEXTS:
            unpacked = _unpacked(kind, file, length)
            if unpacked is not None:
                helpful += unpacked
                parts.append((at, end))
        if kind == b"IEND" or end > size:
            break
        at = end
    else:
        raise ImageError(f"damaged image: more than {_MAX_CHUNKS} chunks")
    return io.BufferedReader(_Parts(file, parts))


def _is_name(kind: bytes) -> bool:
    return kind.isalpha() and kind.isascii()


def _unpacked(kind: bytes, file: BinaryIO, length: int) -> int | None:
    """Return the unpacked size of a chunk in bytes, or None if it is too large or the checksum is wrong."""
    data = file.read(length)
    if zlib.crc32(kind + data) != int.from_bytes(file.read(4)):
        return None
    if kind not in (b"zTXt", b"iTXt"):
        return length
    _, _, rest = data.partition(b"\0")
    if kind == b"iTXt":
        if rest[:1] != b"\1":
            return length
        rest = rest[1:].split(b"\0", 2)[-1]
    unpacking = zlib.decompressobj()
    try:
        unpacked = len(unpacking.decompress(rest[1:], _MAX_TEXT))
    except zlib.error:
        return None
    return unpacked if unpacked < _MAX_TEXT else None


class _Parts(io.RawIOBase):
    """The concatenation of parts of a file."""

    def __init__(self, file: BinaryIO, parts: list[tuple[int, int]]) -> None:
        """Take (start, end) of each part; join adjacent parts."""
        super().__init__()
        self._file = file
        self._at = 0
        self._starts: list[int] = []  # of the parts in this file
        self._parts: list[tuple[int, int]] = []
        total = 0
        for start, end in parts:
            if self._parts and self._parts[-1][1] == start:
                self._parts[-1] = (self._parts[-1][0], end)
            else:
                self._starts.append(total)
                self._parts.append((start, end))
            total += end - start
        self._size = total

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        index = bisect_right(self._starts, self._at) - 1
        start, end = self._parts[index]
        begin = start + self._at - self._starts[index]
        if begin >= end:
            return 0
        self._file.seek(begin)
        data = self._file.read(min(len(buffer), end - begin))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
