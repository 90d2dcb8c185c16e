"""The attributes of a codes file, and the limits that both its writer and its reader check."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..packing import BIT_ORDER, check_bits
from .records import ModelRef

FORMAT = "transhash-codes"
VERSION = 1
MAX_ROOT = 1 << 12  # bytes; the root is prepended to every path
MAX_SHARES = 999_999
MAX_ORIGINS = 1 << 15  # bytes of all names, each with the byte that ends it
_MAX_TEXT = 1 << 16  # bytes of any other attribute
_MAX_SEGMENT_ROWS = 1 << 24
_SHARE = re.compile(r"(\d{1,6})/(\d{1,6})")


@dataclass(frozen=True)
class Header:
    """The attributes of a codes file.

    Attributes:
        version: of the format.
        model: the model that made the codes.
        root: the folder that was encoded, as bytes.
        segment_rows: rows per checksum; 0 in version 0, which has no checksums.
        digest: identity of the contents, 64 hexadecimal digits; empty in version 0.
        share: which share of the images the file contains, as I/N with I from 0 to N - 1; empty for all images.
        origins: what the images were read from: the names of archives, tables, lists and image files, relative to
            `root` unless absolute, or ``.`` for `root` itself; None if that is unknown or too long.
    """

    version: int
    model: ModelRef
    root: bytes
    segment_rows: int
    digest: str
    share: str = ""
    origins: tuple[bytes, ...] | None = None


def check(model: ModelRef, root: bytes, share: str) -> None:
    """Raise ValueError if an attribute is longer than a codes file holds, or `share` is not I/N."""
    check_bits(model.bits)
    if len(root) > MAX_ROOT:
        raise ValueError(f"a root of {len(root):,} bytes: a codes file holds at most {MAX_ROOT:,}")
    for name, text in (("model", model.name), ("digest", model.digest), ("preprocessing", model.preprocessing)):
        if "\0" in text:
            raise ValueError(f"the {name} contains a null character")
        if len(text) > _MAX_TEXT:
            raise ValueError(f"a {name} of {len(text):,} characters: a codes file holds at most {_MAX_TEXT:,}")
    found = _SHARE.fullmatch(share)
    if share and not (found and int(found[1]) < int(found[2])):
        raise ValueError(f"share {share[:40]!r}: expected I/N with I below N, N at most {MAX_SHARES:,}")


def write(
    file: Any,
    model: ModelRef,
    root: bytes,
    segment_rows: int,
    share: str = "",
    origins: tuple[bytes, ...] | None = None,
) -> None:
    """Write the attributes that are known before the first row."""
    file.attrs["format"] = FORMAT
    file.attrs["format_version"] = VERSION
    file.attrs["bits"] = check_bits(model.bits)
    file.attrs["bit_order"] = BIT_ORDER
    file.attrs["model"] = model.name
    file.attrs["model_digest"] = model.digest
    file.attrs["preprocessing"] = model.preprocessing
    file.attrs["root"] = np.frombuffer(root, dtype=np.uint8)
    file.attrs["segment_rows"] = segment_rows
    if share:
        file.attrs["share"] = share
    names = b"".join(name + b"\0" for name in origins or ())
    if 0 < len(names) <= MAX_ORIGINS:
        file.attrs["origins"] = np.frombuffer(names, dtype=np.uint8)


def read(file: Any) -> Header:
    """Return the attributes. Raises ValueError, TypeError or KeyError if they are not those of a known version."""
    if not claims(file):
        raise ValueError("not a TransHash codes file")
    version = int(file.attrs["format_version"])
    if version not in range(VERSION + 1):
        raise ValueError(f"format version {version}, this TransHash reads 0 to {VERSION}")
    if _text(file, "bit_order") != BIT_ORDER:
        raise ValueError(f"bit order {_text(file, 'bit_order')!r}")
    bits = check_bits(int(file.attrs["bits"]))
    model = ModelRef(
        _text(file, "model"), _text(file, "model_digest"), bits, _text(file, "preprocessing") if version else ""
    )
    segment_rows = int(file.attrs["segment_rows"]) if version else 0
    if version and not 1 <= segment_rows <= _MAX_SEGMENT_ROWS:
        raise ValueError(f"segments of {segment_rows} rows")
    digest = _text(file, "digest") if version else ""
    found = Header(version, model, root(file), segment_rows, digest, share(file), _origins(file))
    check(model, found.root, found.share)
    return found


def claims(file: Any) -> bool:
    """Return whether an HDF5 file is marked as a codes file."""
    said = file.attrs.get("format")
    return isinstance(said, str) and said == FORMAT


def share(file: Any) -> str:
    """Return which share of the images a file contains; empty if it contains all."""
    return _text(file, "share") if "share" in file.attrs else ""


def root(file: Any) -> bytes:
    """Return the folder that was encoded. Raises ValueError if it is longer than a codes file holds."""
    found = np.asarray(file.attrs["root"], dtype=np.uint8).tobytes()
    if len(found) > MAX_ROOT:
        raise ValueError(f"a root of {len(found):,} bytes: a codes file holds at most {MAX_ROOT:,}")
    return found


def _origins(file: Any) -> tuple[bytes, ...] | None:
    """Return the sources of the images, or None if the file does not record them. Raises ValueError if damaged."""
    if "origins" not in file.attrs:
        return None
    found = np.asarray(file.attrs["origins"], dtype=np.uint8).tobytes()
    if len(found) > MAX_ORIGINS or not found.endswith(b"\0"):
        raise ValueError("origins: not names that end in NUL bytes")
    return tuple(found[:-1].split(b"\0"))


def _text(file: Any, name: str) -> str:
    value = file.attrs[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is not text")
    value.encode("utf-8")  # HDF5 accepts any bytes as text
    return value
