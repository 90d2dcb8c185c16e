"""NDJSON for search engines: the bulk API of Elasticsearch and OpenSearch, and the feed client of Vespa."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...system import files
from ...system.progress import Progress
from .. import texts
from ..reader import CodesFile

Code = NDArray[np.uint8]
Document = dict[str, Any]

_ACTION = '{"index": {"_id": "'
_PUT = '{"put": "id:transhash:image::'


def _hexadecimal(code: Code) -> str:
    return code.tobytes().hex()


def _signed(code: Code) -> list[int]:
    return code.view(np.int8).tolist()


def _bulk(encode: Callable[[Code], Any]) -> Callable[[int, Code, Document], Iterator[str]]:
    def lines(id: int, code: Code, fields: Document) -> Iterator[str]:
        yield f'{_ACTION}{id}"}}}}'
        yield json.dumps({"code": encode(code), **fields}, ensure_ascii=False)

    return lines


def _put(id: int, code: Code, fields: Document) -> Iterator[str]:
    yield (
        f'{_PUT}{id}", "fields": '
        + json.dumps({"code": {"values": _hexadecimal(code)}, **fields}, ensure_ascii=False)
        + "}"
    )


ENGINES: Mapping[str, Callable[[int, Code, Document], Iterator[str]]] = {
    "elasticsearch": _bulk(_hexadecimal),  # dense_vector of element_type bit: hexadecimal
    "opensearch": _bulk(_signed),  # knn_vector of data_type binary: signed bytes
    "vespa": _put,  # tensor<int8>(x[bits/8]): hexadecimal
}


def write(file: CodesFile, target: Path, on_rows: Progress, engine: str) -> None:
    """Write a document for each row: code, path, labels and, as its id, the position in the file.

    Raises OSError if the file cannot be written.
    """
    lines = ENGINES[engine]
    with files.replacing(target) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as out:
        for start, block in file.blocks(embeddings=False):
            paths = block.records.full_paths()
            for row, (code, path) in enumerate(zip(block.packed, paths, strict=True)):
                labels = [texts.label(name) for name in block.records.names(row)]
                for line in lines(start + row, code, {"path": texts.text(path), "labels": labels}):
                    out.write(line + "\n")
            on_rows(start + len(block), len(file))


def is_own(path: Path) -> bool:
    """Return whether a file starts like one that `write` wrote."""
    return any(files.begins_with(path, f'{mark}0"'.encode()) for mark in (_ACTION, _PUT))
