"""Checksums of codes files: a SHA-256 for each segment of rows, and a digest of the whole file.

``docs/codes-format.md`` describes the computation byte by byte.
"""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .records import NO_LABEL, UNKNOWN, Codes, ModelRef, label_columns
from .strings import StringTable

SEGMENT_ROWS = 1 << 16
SIZE = 32  # bytes of a checksum


class Streams:
    """SHA-256 digests of several byte streams, and one digest over all of them."""

    def __init__(self, count: int) -> None:
        """Start with empty streams."""
        self._hashes = [hashlib.sha256() for _ in range(count)]

    def update(self, *pieces: Any) -> None:
        """Append a piece to each stream."""
        for stream, piece in zip(self._hashes, pieces, strict=True):
            stream.update(piece)

    def update_strings(self, *tables: StringTable) -> None:
        """Append the lengths and the bytes of tables in memory, which are two streams per table."""
        self.update(
            *(piece for table in tables for piece in (_little_endian(table.lengths, "<u8"), _bytes(table.blob)))
        )

    def digest(self) -> bytes:
        """Return the SHA-256 of the streams' digests."""
        return hashlib.sha256(b"".join(stream.digest() for stream in self._hashes)).digest()


class LabelSums:
    """The SHA-256 of each label's name in UTF-8, by the label's number."""

    def __init__(self, names: Iterable[bytes] = ()) -> None:
        """Hash the names that are known so far."""
        self._sums = bytearray()
        self.extend(names)

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._sums) // SIZE

    def extend(self, names: Iterable[bytes]) -> None:
        """Hash further names."""
        for name in names:
            self._sums += hashlib.sha256(name).digest()

    def of(self, labels: NDArray[np.int32]) -> NDArray[np.uint8]:
        """Return the sums (k, 32) uint8 of labels (k,) int32."""
        return np.frombuffer(self._sums, dtype=np.uint8).reshape(-1, SIZE)[labels]

    def sorted(self) -> bytes:
        """Return all digests in ascending order, concatenated."""
        return b"".join(sorted(bytes(self._sums[start : start + SIZE]) for start in range(0, len(self._sums), SIZE)))


class SegmentSums:
    """Computes the checksums of segments from blocks of rows of any size."""

    def __init__(self, segment_rows: int) -> None:
        """Start before the first row."""
        self._segment_rows = segment_rows
        self._sums: list[bytes] = []
        self._streams = Streams(8)
        self._room = segment_rows
        self.rows = 0

    def update(self, block: Codes, names: LabelSums) -> None:
        """Add rows in memory; `names` has the digests of their labels."""
        start = 0
        while start < len(block):
            part = block.take(slice(start, start + self._room))
            self._streams.update(*_row_streams(part, names))
            start += len(part)
            self.rows += len(part)
            self._room -= len(part)
            if not self._room:
                self._close()

    def finish(self) -> NDArray[np.uint8]:
        """Return the checksums of all segments, (S, 32) uint8."""
        if self._room < self._segment_rows:
            self._close()
        return np.frombuffer(b"".join(self._sums), dtype=np.uint8).reshape(-1, SIZE)

    def _close(self) -> None:
        self._sums.append(self._streams.digest())
        self._streams = Streams(8)
        self._room = self._segment_rows


def file_digest(
    version: int,
    bit_order: str,
    model: ModelRef,
    root: bytes,
    segment_rows: int,
    rows: int,
    width: int,
    segments: NDArray[np.uint8],
    names: LabelSums,
    skipped: Streams,
) -> str:
    """Return the hexadecimal digest of a file with `rows` rows and embeddings of `width` dimensions."""
    texts = (bit_order, model.name, model.digest, model.preprocessing)
    numbers = (version, model.bits, segment_rows, rows, width)
    parts = [
        *(str(number).encode() for number in numbers),
        *(text.encode("utf-8") for text in texts),
        root,
        segments.tobytes(),
        names.sorted(),
        skipped.digest(),
    ]
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "little") + part for part in parts)).hexdigest()


def _row_streams(block: Codes, names: LabelSums) -> Sequence[Any]:
    records, count = block.records, len(block)
    paths = StringTable.of(records.paths)
    unknown = np.full(count, UNKNOWN, dtype="<i8")
    labels = np.empty((count, 0), np.int32) if records.labels is None else label_columns(records.labels)
    there = labels != NO_LABEL
    return (
        _bytes(block.packed),
        _little_endian(paths.lengths, "<u8"),
        _bytes(paths.blob),
        _little_endian(there.sum(axis=1), "<u4"),
        _bytes(names.of(labels[there])),
        b"" if block.embeddings is None else _little_endian(block.embeddings, "<f2"),
        unknown if records.sizes is None else _little_endian(records.sizes, "<i8"),
        unknown if records.mtimes is None else _little_endian(records.mtimes, "<i8"),
    )


def _bytes(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(values)


def _little_endian(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    return np.ascontiguousarray(values, dtype=dtype)
