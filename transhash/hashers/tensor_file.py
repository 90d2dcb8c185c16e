"""Deterministic safetensors files with a checksum.

The safetensors library writes the keys of the metadata in random order, and does not detect changes to tensors.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from ..system import files

_CHECKSUM = "checksum"
_MAX_HEADER = 100_000_000  # bytes; the limit of the safetensors library
_BLOCK = 1 << 20


def write(path: Path, serialized: bytes) -> None:
    """Write the bytes that `safetensors.torch.save` returned to `path`, atomically and in canonical form.

    The keys of the header are sorted, and the SHA-256 of the rest of the file is added to the metadata.

    Raises OSError if the file cannot be written.
    """
    length = int.from_bytes(serialized[:8], "little")
    header = json.loads(serialized[8 : 8 + length])
    data = memoryview(serialized)[8 + length :]
    metadata = header.setdefault("__metadata__", {})
    metadata.pop(_CHECKSUM, None)
    checksum = hashlib.sha256(_encoded(header))
    checksum.update(data)
    metadata[_CHECKSUM] = checksum.hexdigest()
    encoded = _encoded(header)
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        file.write(data)


def verify(path: str | os.PathLike[str]) -> bool:
    """Compare a file with its checksum; return whether it has one.

    Raises ValueError if they differ or the file is not a safetensors file, OSError if it cannot be read.
    """
    with open(path, "rb") as file:
        header = _header(file)
        found = header["__metadata__"].pop(_CHECKSUM, None)
        if found is None:
            return False
        checksum = hashlib.sha256(_encoded(header))
        while block := file.read(_BLOCK):
            checksum.update(block)
    if checksum.hexdigest() != found:
        raise ValueError("its contents do not match its checksum")
    return True


def _header(file: BinaryIO) -> dict[str, Any]:
    length = int.from_bytes(file.read(8), "little")
    if length > _MAX_HEADER:
        raise ValueError("not a safetensors file")
    header = json.loads(file.read(length))
    if not isinstance(header, dict) or not isinstance(header.setdefault("__metadata__", {}), dict):
        raise ValueError("not a safetensors file")
    return header


def _encoded(header: dict[str, Any]) -> bytes:
    """Return a header as JSON with sorted keys, padded with spaces so that the tensors after it are aligned."""
    encoded = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    return encoded + b" " * (-len(encoded) % 8)
