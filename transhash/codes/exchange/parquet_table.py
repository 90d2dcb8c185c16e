"""Parquet, through pyarrow: everything in a codes file except the skipped images."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ...errors import CodesError, one_line
from ...packing import check_bits
from ...system import files
from ...system.files import MAX_PATH
from ...system.progress import Progress
from ..guard import guarded
from ..reader import CodesFile
from ..records import MAX_LABELS, NO_LABEL, UNKNOWN, Codes, ModelRef, label_columns
from ..strings import MAX_STRING, STRINGS
from .table import CodesTable, RowBlock

_KEY = b"transhash"  # key of the metadata that name the model
_ROOM = 2 << 30  # bytes of address space for reading; pyarrow's allocator reserves half
_MAX_THRIFT = 1 << 24  # bytes and entries of the file's metadata
_MOST_EXPANDED = 1 << 14  # maximum bytes of codes per byte of the file


def write(file: CodesFile, target: Path, on_rows: Progress, words: bool = False) -> None:
    """Write the columns path, labels, code, embedding, size and mtime: those that the file has.

    With `words`, also write id, the position in the file, and word0, word1, …: the code as unsigned 64-bit integers,
    padded with zeros.

    Paths are strings, or binary if one is not UTF-8. Raises CodesError if pyarrow is not installed, OSError if the
    file cannot be written.
    """
    pa, parquet = _pyarrow()
    model, root = file.header.model, file.header.root.decode("utf-8", "surrogateescape")
    origin = {
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
    numbers = -(-model.bits // 64) if words else 0
    fields += [("id", pa.int64()), *((f"word{place}", pa.uint64()) for place in range(numbers))] if words else []
    schema = pa.schema([pa.field(*field) for field in fields], {_KEY: json.dumps(origin).encode()})
    with (
        files.replacing(target) as temporary,
        temporary.open("wb") as out,
        parquet.ParquetWriter(out, schema) as rows,
    ):
        for start, block in file.blocks():
            more = [pa.array(range(start, start + len(block)), pa.int64()), *_words(block.packed)] if words else []
            rows.write_batch(pa.record_batch([*_columns(pa, block, text), *more], schema=schema))
            on_rows(start + len(block), len(file))


def read(path: Path) -> CodesTable:
    """Open a table in the format of `write`; it need not name the model of the codes.

    Raises CodesError if it has another format, or pyarrow is not installed.
    """
    pa, _ = _pyarrow()
    guarded(lambda report: _check(path, report), path, room=_ROOM)
    with _damage(path):
        file = _opened(path)
        schema = file.schema_arrow
        types = {name: _plain(pa, schema.field(name).type) for name in schema.names}
        if not pa.types.is_fixed_size_binary(types["code"]) or types["path"] not in (pa.string(), pa.binary()):
            raise ValueError("expected path, a string or binary, and code, binary of fixed size")
        embeddings = int(types["embedding"].list_size) if "embedding" in types else 0
        kinds = {"labels": pa.list_(pa.string()), "embedding": pa.list_(pa.float16(), embeddings)}
        for name, kind in {**kinds, "size": pa.int64(), "mtime": pa.int64()}.items():
            if types.get(name, kind) != kind:
                raise ValueError(f"{name} of {types[name]}: expected {kind}")
        bits = check_bits(8 * int(types["code"].byte_width))
        model, root = _origin((schema.metadata or {}).get(_KEY), bits)
        if file.metadata.num_rows * (bits // 8) > _MOST_EXPANDED * max(1, path.stat().st_size):
            raise ValueError(f"{file.metadata.num_rows:,} rows in {path.stat().st_size:,} bytes")
        labels = _max_labels(file) if "labels" in types else 0
        return CodesTable(
            bits,
            _blocks(path, file),
            file.metadata.num_rows,
            labels,
            embeddings,
            {"size", "mtime"} <= types.keys(),
            model,
            root,
        )


def _opened(path: Path) -> Any:
    """Open a table; repeated strings stay in their dictionary, so that they use memory only once."""
    _, parquet = _pyarrow()
    schema = parquet.read_metadata(path).schema
    leaves = [schema.column(place).path for place in range(len(schema))]
    return parquet.ParquetFile(
        path,
        read_dictionary=[leaf for leaf in leaves if leaf == "path" or leaf.startswith("labels.")],
        pre_buffer=False,
        thrift_string_size_limit=_MAX_THRIFT,
        thrift_container_size_limit=_MAX_THRIFT,
    )


def _plain(pa: Any, kind: Any) -> Any:
    """Return the type of a column without the dictionaries that `_opened` asks for."""
    if pa.types.is_list(kind):
        return pa.list_(_plain(pa, kind.value_type))
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _batches(file: Any, columns: list[str] | None = None) -> Iterator[Any]:
    return file.iter_batches(STRINGS, columns=columns, use_threads=False)


def _check(path: Path, report: Progress) -> None:
    """Read a whole table, in the child process of `guarded`. Raises CodesError if it cannot be read."""
    with _damage(path):
        file, done = _opened(path), 0
        for batch in _batches(file):
            done += len(_block({name: batch.column(name) for name in batch.schema.names}).packed)
            report(done, file.metadata.num_rows)


def is_own(path: Path) -> bool:
    """Return whether a file is one that `write` wrote."""
    _, parquet = _pyarrow()
    try:
        with _damage(path):
            guarded(lambda report: _names(path), path, room=_ROOM)
            return _KEY in (parquet.read_schema(path).metadata or {})
    except CodesError:
        return False


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError:
        raise CodesError("Parquet needs pyarrow; install it with: pip install 'transhash[parquet]'") from None
    pyarrow.array([0]).to_numpy()  # imports pandas where it is installed: here, so that no child process does
    return pyarrow, pyarrow.parquet


_BROKEN = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    NotImplementedError,
    MemoryError,
    msgspec.MsgspecError,
)


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """Convert errors of pyarrow on other or damaged files to CodesError."""
    try:
        yield
    except _BROKEN as error:
        raise CodesError(f"{path}: not in the format of th codes export ({one_line(error)})") from error


def _is_text(block: Codes) -> bool:
    try:
        b"\n".join(block.records.paths).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _columns(pa: Any, block: Codes, text: bool) -> list[Any]:
    """Return rows as columns, in the order of the schema."""
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


def _words(packed: NDArray[np.uint8]) -> list[NDArray[np.uint64]]:
    """Return codes (n, bits/8) as columns of integers (n,), most significant bit first."""
    count, width = packed.shape
    filled = np.zeros((count, -(-width // 8) * 8), np.uint8)
    filled[:, :width] = packed
    return [column.astype(np.uint64) for column in filled.view(">u8").T]


class _Metadata(msgspec.Struct, frozen=True):
    """What a table says about its codes."""

    bits: int
    model: str
    model_digest: str
    preprocessing: str
    root: str


def _origin(metadata: bytes | None, bits: int) -> tuple[ModelRef | None, bytes | None]:
    """Return the model and the root that a table names. Raises ValueError or MsgspecError if it is broken."""
    if metadata is None:
        return None, None
    said = msgspec.convert(json.loads(metadata), _Metadata)
    if said.bits != bits:
        raise ValueError(f"codes of {bits} bits, but the metadata say {said.bits}")
    model = ModelRef(said.model, said.model_digest, bits, said.preprocessing)
    return model, said.root.encode("utf-8", "surrogateescape")


def _max_labels(file: Any) -> int:
    """Return the maximum number of labels per row."""
    lengths = (batch.column(0).value_lengths().fill_null(0) for batch in _batches(file, ["labels"]))
    most = max((int(lengths_.to_numpy().max(initial=0)) for lengths_ in lengths), default=0)
    if most > MAX_LABELS:
        raise ValueError(f"{most:,} labels of an image: at most {MAX_LABELS:,} are allowed")
    return most


def _blocks(path: Path, file: Any) -> Iterator[RowBlock]:
    batches = _batches(file)
    while True:
        with _damage(path):
            batch = next(batches, None)
            if batch is None:
                return
            block = _block({name: batch.column(name) for name in batch.schema.names})
        yield block


def _texts(column: Any, what: str, most: int) -> list[Any]:
    """Return the strings of a dictionary column, None where it is null; equal strings share an object.

    Raises ValueError if one has more than `most` bytes.
    """
    values = column.dictionary
    longest = int(_lengths(values).max(initial=0)) if len(values) else 0
    if longest > most:
        raise ValueError(f"a {what} of {longest:,} bytes: at most {most:,} are allowed")
    texts = np.array([*values.to_pylist(), None], object)
    places = column.indices.fill_null(len(values)).to_numpy(zero_copy_only=False)
    found: list[Any] = texts[places].tolist()
    return found


def _paths(column: Any) -> list[Any]:
    import pyarrow as pa

    if pa.types.is_string(column.type.value_type):
        column = pa.DictionaryArray.from_arrays(column.indices, column.dictionary.cast(pa.binary()))
    return _texts(column, "path", MAX_PATH)


def _lists(column: Any) -> list[tuple[Any, ...]]:
    """Return the lists of strings of a column. Raises ValueError if one has too many labels for a codes file."""
    lengths = column.value_lengths().fill_null(0).to_numpy()
    if lengths.max(initial=0) > MAX_LABELS:
        raise ValueError(f"{lengths.max():,} labels of an image: at most {MAX_LABELS:,} are allowed")
    texts, ends = _texts(column.flatten(), "label", MAX_STRING), np.cumsum(lengths).tolist()
    return [tuple(texts[start:end]) for start, end in zip([0, *ends], ends, strict=False)]


def _lengths(values: Any) -> NDArray[np.int32]:
    import pyarrow.compute as pc

    return pc.binary_length(values).to_numpy(zero_copy_only=False)


def _names(path: Path) -> None:
    """Read the schema of a table, in the child process of `guarded`."""
    with _damage(path):
        _opened(path)


def _block(columns: dict[str, Any]) -> RowBlock:
    """Return rows of a table. Raises ValueError, TypeError or KeyError if a column has another type."""
    codes = columns["code"].to_pylist()
    paths = _paths(columns["path"])
    if None in paths or None in codes:
        raise ValueError("a row without path or code")
    labels = _lists(columns["labels"]) if "labels" in columns else [()] * len(paths)
    if any(None in names for names in labels):
        raise ValueError("a label that is null")
    vectors: NDArray[np.float16] | None = None
    if "embedding" in columns:
        vectors = columns["embedding"].flatten().to_numpy().reshape(len(paths), columns["embedding"].type.list_size)
    stats = [columns[name].fill_null(UNKNOWN).to_numpy() for name in ("size", "mtime") if name in columns]
    return RowBlock(
        np.frombuffer(b"".join(codes), dtype=np.uint8).reshape(len(codes), -1),
        paths,
        labels,
        vectors,
        *(stats if len(stats) == 2 else ()),
    )
