"""Parquet, through pyarrow: all of a codes file but what was skipped."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import files
from ...errors import CodesError, one_line
from ...packing import check_bits
from ...progress import Progress
from ..reader import CodesFile
from ..records import NO_LABEL, UNKNOWN, Codes, ModelRef, label_columns
from ..strings import STRINGS
from .table import Block, Table

_KEY = b"transhash"  # of the metadata that say what made the codes


def write(file: CodesFile, target: Path, on_rows: Progress) -> None:
    """Write path, labels, code, embedding, size and mtime: those that there are.

    Paths are strings, or binary if one is no UTF-8. Raises CodesError if pyarrow is not installed, OSError if the
    file cannot be written.
    """
    pa, parquet = _pyarrow()
    model, root = file.header.model, file.header.root.decode("utf-8", "surrogateescape")
    said = {
        "model": model.name,
        "model_digest": model.digest,
        "bits": model.bits,
        "preprocessing": model.preprocessing,
        "root": root,
    }
    text = all(_is_text(block) for _, block in file.blocks(embeddings=False))
    fields = [("path", pa.string() if text else pa.binary()), ("code", pa.binary(model.bits // 8))]
    fields += [("labels", pa.list_(pa.string()))] if file.labels else []
    fields += [("embedding", pa.list_(pa.float16(), file.embeddings))] if file.embeddings else []
    fields += [("size", pa.int64()), ("mtime", pa.int64())] if file.stats else []
    schema = pa.schema([pa.field(*field) for field in fields], {_KEY: json.dumps(said).encode()})
    with (
        files.replacing(target) as temporary,
        temporary.open("wb") as out,
        parquet.ParquetWriter(out, schema) as rows,
    ):
        for start, block in file.blocks():
            rows.write_batch(pa.record_batch(_columns(pa, block, text), schema=schema))
            on_rows(start + len(block), len(file))


def read(path: Path) -> Table:
    """Open a table as `write` writes it; it need not say what made the codes.

    Raises CodesError if it is something else, or pyarrow is not installed.
    """
    pa, parquet = _pyarrow()
    with _damage(path):
        file = parquet.ParquetFile(path)
        schema = file.schema_arrow
        types = {name: schema.field(name).type for name in schema.names}
        if not pa.types.is_fixed_size_binary(types["code"]) or types["path"] not in (pa.string(), pa.binary()):
            raise ValueError("expected path, a string or binary, and code, binary of fixed size")
        embeddings = int(types["embedding"].list_size) if "embedding" in types else 0
        kinds = {"labels": pa.list_(pa.string()), "embedding": pa.list_(pa.float16(), embeddings)}
        for name, kind in {**kinds, "size": pa.int64(), "mtime": pa.int64()}.items():
            if types.get(name, kind) != kind:
                raise ValueError(f"{name} of {types[name]}: expected {kind}")
        bits = check_bits(8 * int(types["code"].byte_width))
        model, root = _said((schema.metadata or {}).get(_KEY), bits)
        labels = _most(file) if "labels" in types else 0
        return Table(
            bits,
            _blocks(path, file),
            file.metadata.num_rows,
            labels,
            embeddings,
            {"size", "mtime"} <= types.keys(),
            model,
            root,
        )


def is_own(path: Path) -> bool:
    """Return whether a file is one that `write` wrote."""
    _, parquet = _pyarrow()
    try:
        with _damage(path):
            return _KEY in (parquet.read_schema(path).metadata or {})
    except CodesError:
        return False


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise CodesError("Parquet needs pyarrow; install it with: pip install 'transhash[parquet]'") from None
    return pyarrow, pyarrow.parquet


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Turn what pyarrow raises over a table of another kind into a CodesError."""
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, AttributeError, NotImplementedError, MemoryError) as error:
        raise CodesError(f"{path}: not a table as th codes export writes it ({one_line(error)})") from error


def _is_text(block: Codes) -> bool:
    try:
        b"\n".join(block.records.paths).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _columns(pa: Any, block: Codes, text: bool) -> list[Any]:
    """Return the columns of some rows, in the order of the schema."""
    records, count = block.records, len(block)
    paths = pa.array(list(records.paths), pa.binary())
    codes = np.ascontiguousarray(block.packed)
    columns = [
        paths.cast(pa.string()) if text else paths,
        pa.Array.from_buffers(pa.binary(codes.shape[1]), count, [None, pa.py_buffer(codes)]),
    ]
    if records.labels is not None:
        labels = label_columns(records.labels)
        ends = np.concatenate([[0], np.cumsum((labels != NO_LABEL).sum(axis=1))])
        names = pa.array(records.label_names, pa.string()).take(pa.array(labels[labels != NO_LABEL]))
        columns.append(pa.ListArray.from_arrays(pa.array(ends, pa.int32()), names))
    if block.embeddings is not None:
        width = block.embeddings.shape[1]
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(block.embeddings.reshape(-1)), width))
    for values in (records.sizes, records.mtimes):
        if values is not None:
            columns.append(pa.array(values, mask=values == UNKNOWN))
    return columns


def _said(metadata: bytes | None, bits: int) -> tuple[ModelRef | None, bytes | None]:
    """Return the model and the root that a table names. Raises ValueError, TypeError or KeyError if it is broken."""
    if metadata is None:
        return None, None
    said = json.loads(metadata)
    if said["bits"] != bits:
        raise ValueError(f"codes of {bits} bits, said to have {said['bits']}")
    model = ModelRef(str(said["model"]), str(said["model_digest"]), bits, str(said["preprocessing"]))
    return model, str(said["root"]).encode("utf-8", "surrogateescape")


def _most(file: Any) -> int:
    """Return how many labels a row has at most."""
    lengths = (batch.column(0).value_lengths().fill_null(0) for batch in file.iter_batches(columns=["labels"]))
    return max((int(some.to_numpy().max(initial=0)) for some in lengths), default=0)


def _blocks(path: Path, file: Any) -> Iterator[Block]:
    batches = file.iter_batches(STRINGS)
    while True:
        with _damage(path):
            batch = next(batches, None)
            if batch is None:
                return
            block = _block({name: batch.column(name) for name in batch.schema.names})
        yield block


def _block(columns: dict[str, Any]) -> Block:
    """Return some rows of a table. Raises ValueError, TypeError or KeyError if a column holds something else."""
    codes = columns["code"].to_pylist()
    paths = columns["path"].to_pylist()
    if None in paths or None in codes:
        raise ValueError("a row without path or code")
    labels = columns["labels"].to_pylist() if "labels" in columns else [()] * len(paths)
    if any(name is None for names in labels for name in names or ()):
        raise ValueError("a label that is null")
    vectors: NDArray[np.float16] | None = None
    if "embedding" in columns:
        vectors = columns["embedding"].flatten().to_numpy().reshape(len(paths), columns["embedding"].type.list_size)
    stats = [columns[name].fill_null(UNKNOWN).to_numpy() for name in ("size", "mtime") if name in columns]
    return Block(
        np.frombuffer(b"".join(codes), dtype=np.uint8).reshape(len(codes), -1),
        [path if isinstance(path, bytes) else path.encode("utf-8") for path in paths],
        [tuple(names or ()) for names in labels],
        vectors,
        *(stats if len(stats) == 2 else ()),
    )
