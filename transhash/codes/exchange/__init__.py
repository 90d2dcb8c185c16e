"""Convert codes files to and from CSV, NumPy arrays and Parquet, and to formats that databases load."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ...errors import CodesError
from ...system import files
from ...system.arguments import checked
from ...system.files import display
from ...system.progress import Progress, silent
from ..reader import open_codes
from ..records import ModelRef
from ..writer import CodesWriter
from . import csv_table, ndjson_table, npy_table, parquet_table, sqlite_table
from .npy_table import PathAndLabels
from .table import CodesTable, RowBlock

__all__ = [
    "DATABASES",
    "EXPORTED",
    "SUFFIXES",
    "CodesTable",
    "PathAndLabels",
    "RowBlock",
    "export_codes",
    "import_table",
    "open_table",
]

_FORMATS = {".csv": csv_table, ".npy": npy_table, ".parquet": parquet_table}
_EXPORTS = {**_FORMATS, ".db": sqlite_table, ".ndjson": ndjson_table}
SUFFIXES = tuple(_FORMATS)
"""Suffixes of the formats that can be exported and imported."""
EXPORTED = tuple(_EXPORTS)
"""Suffixes of all formats that can be exported."""
DATABASES = ("duckdb", *ndjson_table.ENGINES)
"""Databases that need their own variant of a format."""


@checked
def export_codes(
    source: str | Path, target: str | Path, on_rows: Progress = silent, *, database: str | None = None
) -> int:
    """Write a codes file in another format, by the suffix of `target`; return the number of rows.

    The formats are CSV, a NumPy array (``.npy``), Parquet, SQLite (``.db``) and NDJSON. Only Parquet contains
    embeddings, an array contains only the codes, and none contains the skipped images.

    Args:
        source: the codes file.
        target: the file to write; replaced if it is an earlier export.
        on_rows: called with the number of rows written so far, and the total.
        database: the database that will load NDJSON: ``elasticsearch``, ``opensearch`` or ``vespa``; or ``duckdb``,
            for which Parquet also gets ids and the codes as integers.

    Raises CodesError if the codes file is damaged or the format cannot represent its contents; OutputError if
    `target` exists and is not an earlier export; OSError if it cannot be written.
    """
    source, target = Path(source), Path(target)
    form = _form(target, _EXPORTS)
    options = _options(target, form, database)
    files.check_replaceable(target, lambda there: there.is_file() and form.is_own(there), "an earlier export")
    with open_codes(source, embeddings=form is parquet_table) as file:
        form.write(file, target, on_rows, **options)
        return len(file)


def open_table(path: str | Path, bits: int | None = None, rows: Iterable[PathAndLabels] | None = None) -> CodesTable:
    """Open CSV, a NumPy array or Parquet, by its suffix, to import it.

    `bits` and `rows` are for arrays: the length of its codes, and path and labels of every row (see
    `npy_table.read`).

    Raises CodesError if there is no such file, or it does not have the format that `export_codes` writes.
    """
    path = Path(path)
    form = _form(path)
    if not path.is_file():
        raise CodesError(f"{display(path)}: no such file")
    return npy_table.read(path, bits, rows) if form is npy_table else form.read(path)


def import_table(
    table: CodesTable,
    output: str | Path,
    model: ModelRef,
    root: bytes = b"",
    on_rows: Progress = silent,
) -> int:
    """Write the rows of a table as a codes file, and return their number.

    Args:
        table: from `open_table`; its rows are consumed.
        output: codes file to write; replaces an existing one.
        model: the model of the codes.
        root: the folder that paths are relative to.
        on_rows: called with the number of rows written so far, and the total, 0 if unknown.

    Raises CodesError if a row is damaged, the model has another width, or something other than a codes file exists at
    `output`; OSError if it cannot be written.
    """
    output = Path(output)
    if model.bits != table.bits:
        raise CodesError(f"{output}: codes of {table.bits} bits, but {model.name} makes {model.bits}")
    with CodesWriter.create(
        output, model, root, labels=table.labels, embeddings=table.embeddings, stats=table.stats
    ) as writer:
        count = 0
        for block in table.blocks:
            writer.append(
                block.packed,
                block.paths,
                block.labels,
                embeddings=block.embeddings,
                sizes=block.sizes,
                mtimes=block.mtimes,
            )
            count += len(block.packed)
            on_rows(count, table.count)
    return count


def _form(path: Path, formats: Mapping[str, Any] = _FORMATS) -> Any:
    """Return the module for a file's suffix."""
    if path.suffix.lower() not in formats:
        raise CodesError(f"{path}: unknown format; choose a name that ends in {', '.join(formats)}")
    return formats[path.suffix.lower()]


def _options(target: Path, form: Any, database: str | None) -> dict[str, Any]:
    """Return the options of a format for the database that will load it. Raises CodesError."""
    taken = {ndjson_table: tuple(ndjson_table.ENGINES), parquet_table: ("duckdb",)}.get(form, ())
    if database is None and form is not ndjson_table:
        return {}
    if database not in taken:
        problem = (
            f"name the database that will load it: {', '.join(taken)}"
            if taken
            else "this format has no variants; leave the database out"
        )
        raise CodesError(f"{target}: {problem}")
    return {"engine": database} if form is ndjson_table else {"words": True}
