"""CSV with a row for each image: codes in hexadecimal, paths as raw bytes, lines that end in LF."""

import csv
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import CodesError
from ...packing import check_bits
from ...system import files
from ...system.progress import Progress
from ..reader import CodesFile
from ..records import MAX_LABELS, UNKNOWN, Codes, label_columns
from ..strings import BLOCK_BYTES, STRINGS
from .table import CodesTable, RowBlock, check_path

_STATS = ["size", "mtime"]
_LOWEST = (0, -(1 << 63))  # dates before 1970 are negative
_Row = tuple[int, list[str]]  # number of its last line, cells
_HINT = "use the format of th codes export, or export_codes"


def write(file: CodesFile, target: Path, on_rows: Progress) -> None:
    """Write the columns id, path, label, code and, if they are known, size and mtime; ids are positions in the file.

    Rows with several labels have columns label1, label2 and so on, which may be empty. Raises CodesError for an empty
    label, OSError if the file cannot be written.
    """
    if "" in file.label_names:
        raise CodesError(f"{file.path}: an empty label, which CSV cannot distinguish from none; export .parquet")
    with (
        files.replacing(target) as temporary,
        open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as out,
    ):
        rows, quoted = (
            csv.writer(out, lineterminator="\n", quoting=how) for how in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL)
        )
        rows.writerow(["id", "path", *_label_columns(file.labels), "code", *(_STATS if file.stats else [])])
        carriage_return = any("\r" in name for name in file.label_names)  # which QUOTE_MINIMAL would not quote
        for start, block in file.blocks(embeddings=False):
            paths = [path.decode("utf-8", "surrogateescape") for path in block.records.paths]
            codes = [code.tobytes().hex() for code in block.packed]
            columns: list[Any] = [range(start, start + len(block)), paths, *_label_cells(file, block), codes]
            if block.records.sizes is not None and block.records.mtimes is not None:
                columns += [_number_cells(block.records.sizes), _number_cells(block.records.mtimes)]
            writer = quoted if carriage_return or any("\r" in path for path in paths) else rows
            writer.writerows(zip(*columns, strict=True))
            on_rows(start + len(block), len(file))


def read(path: Path) -> CodesTable:
    """Open a file in the format of `write`, with or without the column id. Blank lines are ignored.

    Raises CodesError if it has another format.
    """
    rows = _rows(path)
    _, header = next(rows, (0, []))
    first = next(rows, None)
    labels = sum(1 for name in header if name.startswith("label"))
    stats = header[-2:] == _STATS
    skip = int(header[:1] == ["id"])  # earlier versions wrote no ids
    expected = [*header[:skip], "path", *_label_columns(labels), "code", *(_STATS if stats else [])]
    if header != expected or labels > MAX_LABELS:
        columns = ",".join(header)
        found = f"columns {columns[:200]!r}" if columns.isprintable() else "not text"
        raise CodesError(f"{path}: line 1: {found}: expected path, label, code; {_HINT}")
    if first is None:
        raise CodesError(f"{path}: no rows; {_HINT}")
    try:
        bits = check_bits(4 * len(first[1][skip + 1 + labels]))
    except (IndexError, ValueError) as error:
        raise CodesError(f"{path}: line {first[0]}: {error}; {_HINT}") from None
    return CodesTable(bits, _blocks(path, chain([first], rows), bits, labels, stats, skip), 0, labels, stats=stats)


def is_own(path: Path) -> bool:
    """Return whether a file starts like one that `write` wrote."""
    with path.open("rb") as file:
        line = file.readline(1 << 16)
    return line.startswith((b"id,path,", b"path,")) and b"code" in line.rstrip().split(b",")


def _rows(path: Path) -> Iterator[_Row]:
    """Yield the cells of every row, with the number of its last line."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            for row in reader:
                if row:
                    yield reader.line_num, row
        except csv.Error as error:
            raise CodesError(f"{path}: line {reader.line_num}: {error}; {_HINT}") from None


def _blocks(path: Path, rows: Iterator[_Row], bits: int, labels: int, stats: bool, skip: int) -> Iterator[RowBlock]:
    """Yield the rows, without the first `skip` cells of each."""
    width = 2 + labels + (2 if stats else 0)
    for batch in _batches((line, row[skip:]) for line, row in rows):
        paths = []
        codes = []
        numbers = []
        for line, row in batch:
            try:
                if len(row) != width:
                    raise ValueError(f"{len(row)} cells, not {width}")
                paths.append(check_path(row[0].encode("utf-8", "surrogateescape")))
                codes.append(bytes.fromhex(row[1 + labels]))
                if len(codes[-1]) * 8 != bits or len(row[1 + labels]) * 4 != bits:
                    raise ValueError(f"a code that does not have {bits} bits")
                numbers.append(
                    [_number(cell, least) for cell, least in zip(row[2 + labels :], _LOWEST, strict=False)]
                )
            except ValueError as error:
                raise CodesError(f"{path}: line {line}: {error}; {_HINT}") from None
        table = np.array(numbers, dtype=np.int64).reshape(len(batch), -1)
        yield RowBlock(
            np.frombuffer(b"".join(codes), dtype=np.uint8).reshape(len(batch), -1),
            paths,
            [tuple(filter(None, row[1 : 1 + labels])) for _, row in batch],
            None,
            table[:, 0] if stats else None,
            table[:, 1] if stats else None,
        )


def _batches(rows: Iterable[_Row]) -> Iterator[list[_Row]]:
    """Yield batches of consecutive rows: at most 16,384 rows, and 16 Mi characters unless it is a single row."""
    batch: list[_Row] = []
    room = BLOCK_BYTES
    for row in rows:
        size = sum(map(len, row[1]))
        if batch and (size > room or len(batch) == STRINGS):
            yield batch
            batch, room = [], BLOCK_BYTES
        batch.append(row)
        room -= size
    if batch:
        yield batch


def _label_columns(labels: int) -> list[str]:
    return ["label"] if labels == 1 else [f"label{place}" for place in range(1, labels + 1)]


def _label_cells(file: CodesFile, block: Codes) -> list[list[str]]:
    if block.records.labels is None:
        return []
    names = [*file.label_names, ""]  # the last for -1
    return [[names[place] for place in column] for column in label_columns(block.records.labels).T.tolist()]


def _number(cell: str, least: int) -> int:
    """Return a size or a time; -1 for an empty cell. Raises ValueError if it is neither."""
    if not cell or cell == str(UNKNOWN):
        return UNKNOWN
    if len(cell) > 20 or not least <= int(cell) < 1 << 63:
        raise ValueError(f"{cell[:40]!r} is not a size in bytes or a time in nanoseconds")
    return int(cell)


def _number_cells(values: Any) -> list[Any]:
    return ["" if value == UNKNOWN else value for value in values.tolist()]
