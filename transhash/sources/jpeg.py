"""Count the scans of a JPEG file: each one needs a pass over the image, even if it is only a few bytes long."""

from typing import BinaryIO

from ..errors import ImageError

SIGNATURE = b"\xff\xd8\xff"

_BLOCK = 1 << 20
_START_OF_SCAN = b"\xff\xda"
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))
_MAX_SEGMENTS = 1 << 14
_MAX_JUNK = 1 << 16  # bytes between segments


def scans(file: BinaryIO) -> int:
    """Return the number of scans in a file.

    Raises ImageError if so many segments, or bytes outside segments, precede the first scan that reading the header
    alone would take long.
    """
    file.seek(0)
    file.read(2)
    junk = 0
    for _ in range(_MAX_SEGMENTS):
        while (marker := _marker(file)) is None:
            junk += 1
            if junk > _MAX_JUNK:
                raise ImageError("damaged image: too many bytes between segments")
        if marker == 0xDA:
            return 1 + _count(file)
        if marker in (0, 0xD9):
            return 0
        if marker not in _WITHOUT_LENGTH:
            length = int.from_bytes(file.read(2))
            file.seek(max(0, length - 2), 1)
    raise ImageError(f"damaged image: more than {_MAX_SEGMENTS} segments")


def _marker(file: BinaryIO) -> int | None:
    """Return the next marker, 0 at the end of the file, or None for a byte that does not start one."""
    byte = file.read(1)
    if not byte:
        return 0
    if byte != b"\xff":
        return None
    following = file.read(1)
    if following == b"\xff":  # padding
        file.seek(-1, 1)
        return None
    return following[0] if following not in (b"", b"\0") else None


def count(data: bytes) -> int:
    """Return the number of scans that start in coded data."""
    return data.count(_START_OF_SCAN)


def _count(file: BinaryIO) -> int:
    """Return the number of scans that start in the rest of the file; coded data cannot contain the marker."""
    found, last = 0, b""
    while block := file.read(_BLOCK):
        found += (last + block).count(_START_OF_SCAN)
        last = block[-1:] if block[-1:] == b"\xff" else b""
    return found
