"""PostgreSQL's binary formats: ``COPY`` of rows and codes, and codes as parameters.

See "Binary Format" of COPY in the PostgreSQL manual, and `bit_send`, `array_send` in its sources.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg.adapt import AdaptersMap, Buffer, Dumper, Loader
from psycopg.pq import Format

HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
TRAILER = struct.pack("!h", -1)

_BIT, _TEXT = 1560, 25  # object ids of these types, which never change
_NULL = struct.pack("!i", -1)
_ROW_FIELDS = 6


@dataclass(frozen=True, slots=True)
class Bits:
    """A packed code as a parameter of type ``bit``."""

    packed: bytes


class _BitsDumper(Dumper):
    format = Format.BINARY
    oid = _BIT

    def dump(self, obj: Bits) -> Buffer | None:
        return struct.pack("!i", 8 * len(obj.packed)) + obj.packed


class _BitsLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> bytes:
        return bytes(data)[4:]


def register(adapters: AdaptersMap) -> None:
    """Teach a connection to send `Bits`, and to return values of type ``bit`` as packed bytes."""
    adapters.register_dumper(Bits, _BitsDumper)
    adapters.register_loader(_BIT, _BitsLoader)


def rows(
    ids: NDArray[np.int64],
    packed: NDArray[np.uint8],
    paths: Sequence[bytes],
    labels: Sequence[Sequence[bytes]],
    stats: Iterable[tuple[int | None, int | None]],
) -> bytes:
    """Return rows of (id, code, path, labels, size, mtime) as the data of a binary COPY, without header and trailer.

    Args:
        ids: (n,).
        packed: codes, (n, bits/8) uint8.
        paths: n texts, UTF-8.
        labels: the labels of each row, UTF-8.
        stats: (size, mtime) of each row; None is NULL.
    """
    width = packed.shape[1]
    heads = np.zeros(len(ids), _layout(width))
    heads["fields"], heads["id_size"], heads["id"] = _ROW_FIELDS, 8, ids
    heads["code_size"], heads["bits"], heads["code"] = 4 + width, 8 * width, packed
    data, step = heads.tobytes(), heads.itemsize
    known: dict[tuple[bytes, ...], bytes] = {}
    parts: list[bytes] = []
    for row, (path, row_labels, (size, mtime)) in enumerate(zip(paths, labels, stats, strict=True)):
        key = tuple(row_labels)
        names = known.get(key)
        if names is None:
            names = known[key] = _array(key)
        parts += (data[row * step : (row + 1) * step], struct.pack("!i", len(path)), path, names)
        parts += (_bigint(size), _bigint(mtime))
    return b"".join(parts)


def codes(chunks: Iterable[Buffer], width: int, most: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """Yield ids (n,) and codes (n, width) of a binary COPY of (id, code), about `most` rows at a time."""
    kind = _layout(width)
    waiting, skipped = bytearray(), False
    for chunk in chunks:
        waiting += chunk
        if not skipped and len(waiting) >= len(HEADER):
            del waiting[: len(HEADER)]
            skipped = True
        if skipped and len(waiting) >= most * kind.itemsize:
            yield _columns(waiting, kind)
    yield _columns(waiting, kind)


def _layout(width: int) -> np.dtype[Any]:
    """Return the layout of a row's first two columns, id and a code of `width` bytes."""
    fields = [("fields", ">i2"), ("id_size", ">i4"), ("id", ">i8"), ("code_size", ">i4"), ("bits", ">i4")]
    return np.dtype([*fields, ("code", np.uint8, (width,))])


def _columns(waiting: bytearray, kind: np.dtype[Any]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Take whole rows from the beginning of what has arrived."""
    count = len(waiting) // kind.itemsize
    found = np.frombuffer(bytes(waiting[: count * kind.itemsize]), kind)
    del waiting[: count * kind.itemsize]
    return found["id"].astype(np.int64), np.ascontiguousarray(found["code"])


def _bigint(value: int | None) -> bytes:
    return _NULL if value is None else struct.pack("!iq", 8, value)


def _array(texts: Sequence[bytes]) -> bytes:
    """Return texts as a value of type ``text[]``."""
    if not texts:
        body = struct.pack("!iii", 0, 0, _TEXT)
    else:
        items = b"".join(struct.pack("!i", len(text)) + text for text in texts)
        body = struct.pack("!iiiii", 1, 0, _TEXT, len(texts), 1) + items
    return struct.pack("!i", len(body)) + body
