"""Read ONNX files from untrusted sources into one message without external data.

Only the child process of `onnx_guard` uses this module: a small file can become a huge message in memory.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from ..errors import ModelError

MAX_BYTES = (1 << 31) - 1  # size of an ONNX file, including the data files that become part of it

_STANDARD = ("", "ai.onnx")
_DOMAINS = (*_STANDARD, "ai.onnx.ml", "com.microsoft")  # the operators of ONNX Runtime
_UNBOUNDED = ("Loop", "Scan", "SequenceMap")


def read(data: bytes, folder: Path | None) -> tuple[bytes | None, str]:
    """Check an ONNX file, and make external data part of it.

    Args:
        data: the contents of the file.
        folder: where its data files lie; None if it must not have any.

    Returns:
        The file with its data, or None if it has no data files; and the SHA-256 of the file and its data files.

    Raises ModelError if the file is not an ONNX file, a data file is missing or lies outside `folder`, or the graph
    has custom operators or loops.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        raise ModelError("not an ONNX file, or a damaged one") from None
    if not model.graph.node:
        raise ModelError("not an ONNX file, or one without operators")
    local = {(function.domain, function.name) for function in model.functions}
    external = []
    for message in _messages(model):
        if isinstance(message, onnx.NodeProto):
            _check_operator(message, local)
        elif isinstance(message, onnx.TensorProto) and (message.data_location or message.external_data):
            external.append(message)
    digest = hashlib.sha256(data)
    if not external:
        return None, digest.hexdigest()
    for path in sorted({_data_file(tensor, folder) for tensor in external}):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    left = MAX_BYTES - len(data)
    for tensor in external:
        left -= _include(tensor, _data_file(tensor, folder), left)
    try:
        return model.SerializeToString(), digest.hexdigest()
    except ValueError:
        raise _too_large() from None


def _messages(message: Any) -> Iterator[Any]:
    """Yield all messages within a protobuf message; the parser has limited their depth."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for one in [value] if hasattr(value, "ListFields") else value:
            yield one
            if not isinstance(one, onnx.TensorProto):
                yield from _messages(one)


def _check_operator(node: Any, local: set[tuple[str, str]]) -> None:
    """Raise ModelError for an operator that ONNX Runtime does not have, or that may repeat without a limit."""
    name = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
    if (node.domain, node.op_type) not in local and node.domain not in _DOMAINS:
        raise ModelError(f"uses the custom operator {name[:100]}; export it with standard operators")
    if node.domain in _STANDARD and node.op_type in _UNBOUNDED:
        raise ModelError(f"contains a loop ({name}); export only the image encoder")


def _data_file(tensor: Any, folder: Path | None) -> Path:
    """Return the file of a tensor's data. Raises ModelError if it is missing, or not in the folder of the model."""
    location = _entries(tensor).get("location", "")
    if folder is None:
        raise ModelError(f"refers to another file, {location[:100]!r}")
    inside = Path(os.path.realpath(folder))
    path = Path(os.path.realpath(inside / location))
    if os.path.isabs(location) or "\0" in location or inside not in path.parents:
        raise ModelError(f"its data file {location[:100]!r} lies outside its folder; copy the file into the folder")
    if not path.is_file():
        raise ModelError(f"its data file {location[:100]!r} is missing; copy the file into the folder of the model")
    if path.stat().st_size > MAX_BYTES:
        raise _too_large()
    return path


def _include(tensor: Any, path: Path, most: int) -> int:
    """Make the data of a tensor part of the model, and return their number of bytes."""
    entries = _entries(tensor)
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", max(0, path.stat().st_size - offset)))
    except ValueError:
        offset = length = -1
    if offset < 0 or length < 0 or offset + length > path.stat().st_size:
        raise ModelError(f"the data file {path.name!r} does not have the bytes that the model refers to")
    if length > most:
        raise _too_large()
    with path.open("rb") as file:
        file.seek(offset)
        tensor.raw_data = file.read(length)
    del tensor.external_data[:]
    tensor.ClearField("data_location")
    return length


def _entries(tensor: Any) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}


def _too_large() -> ModelError:
    return ModelError("over 2 GiB with its data, more than an ONNX file holds; convert it to float16")
