"""Keys that identify rows: digests short enough to keep millions of them in memory."""

from collections.abc import Iterable
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from .records import NO_LABEL, Codes, label_columns

_SIZE = 16  # bytes; enough to make a collision practically impossible
DTYPE = np.dtype(f"S{_SIZE}")


def path_key(path: bytes) -> bytes:
    """Return the key of a path, 16 bytes."""
    return blake2b(path, digest_size=_SIZE).digest()


def row_key(path: bytes, code: bytes, labels: Iterable[bytes]) -> bytes:
    """Return the key of a row, 16 bytes: rows are equal if path, code and labels, in order, are."""
    parts = [code, path, *labels]
    sizes = b"".join(len(part).to_bytes(4, "big") for part in parts)
    return path_key(sizes + b"".join(parts))


def array(keys: Iterable[bytes]) -> NDArray[np.bytes_]:
    """Return keys as an array (n,) of `DTYPE`, which sorts and compares."""
    return np.fromiter(keys, DTYPE)


def of(codes: Codes) -> NDArray[np.bytes_]:
    """Return the key of every row, (n,)."""
    records = codes.records
    names = [name.encode("utf-8", "backslashreplace") for name in records.label_names]
    labels = [[]] * len(codes) if records.labels is None else label_columns(records.labels).tolist()
    return array(
        row_key(path, code.tobytes(), (names[place] for place in places if place != NO_LABEL))
        for code, path, places in zip(codes.packed, records.full_paths(), labels, strict=True)
    )
