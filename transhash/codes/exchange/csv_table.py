"""CSV (RFC 4180): a row an image, codes in hexadecimal, paths in their very bytes."""

import csv
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from ... import files
from ...errors import CodesError
from ...packing import check_bits
from ...progress import Progress
from ..reader import CodesFile
from ..records import MAX_LABELS, UNKNOWN, Codes, label_columns
from ..strings import STRINGS
from .table import Block, Table

_STATS = ["size", "mtime"]
_Row = tuple[int, list[str]]  # number of its last line, cells
_MEND = "write it as th codes export does"


def write(file: CodesFile, target: Path, on_rows: Progress) -> None:
    """Write the columns path, label, code and, if they are known, size and mtime.

    Rows with several labels have columns label1, label2 and so on, of which the last may be empty. Raises CodesError
    for a label without a character, OSError if the file cannot be written.
    """
    if "" in file.label_names:
        raise CodesError(f"{file.path}: a label is an empty text, which CSV cannot tell from none; export .parquet")
    with (
        files.replacing(target) as temporary,
        open(temporary, "w", encoding="utf-8", errors="surrogateescape", newline="") as out,
    ):
        rows = csv.writer(out)
        rows.writerow(["path", *_label_columns(file.labels), "code", *(_STATS if file.stats else [])])
        for start, block in file.blocks(embeddings=False):
            paths = [path.decode("utf-8", "surrogateescape") for path in block.records.paths]
            codes = [code.tobytes().hex() for code in block.packed]
            columns: list[Any] = [paths, *_label_cells(file, block), codes]
            if block.records.sizes is not None and block.records.mtimes is not None:
                columns += [_number_cells(block.records.sizes), _number_cells(block.records.mtimes)]
            rows.writerows(zip(*columns, strict=True))
            on_rows(start + len(block), len(file))


def read(path: Path) -> Table:
    """Open what `write` wrote. Raises CodesError if it is something else."""
    rows = _rows(path)
    _, header = next(rows, (0, []))
    first = next(rows, None)
    labels = sum(1 for name in header if name.startswith("label"))
    stats = header[-2:] == _STATS
    expected = ["path", *_label_columns(labels), "code", *(_STATS if stats else [])]
    if header != expected or labels > MAX_LABELS:
        raise CodesError(f"{path}: line 1: columns {','.join(header)[:200]!r}: expected path, label, code; {_MEND}")
    if first is None:
        raise CodesError(f"{path}: no row; {_MEND}")
    try:
        bits = check_bits(4 * len(first[1][1 + labels]))
    except (IndexError, ValueError) as error:
        raise CodesError(f"{path}: line {first[0]}: {error}; {_MEND}") from None
    return Table(bits, _blocks(path, chain([first], rows), bits, labels, stats), 0, labels, stats=stats)


def is_own(path: Path) -> bool:
    """Return whether a file begins as one that `write` wrote."""
    with path.open("rb") as file:
        line = file.readline(1 << 16)
    return line.startswith(b"path,") and b"code" in line.rstrip().split(b",")


def _rows(path: Path) -> Iterator[_Row]:
    """Yield the cells of every row, with the number of its last line."""
    with open(path, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            for row in reader:
                yield reader.line_num, row
        except csv.Error as error:
            raise CodesError(f"{path}: line {reader.line_num}: {error}; {_MEND}") from None


def _blocks(
    path: Path, rows: Iterator[tuple[int, list[str]]], bits: int, labels: int, stats: bool
) -> Iterator[Block]:
    width = 2 + labels + (2 if stats else 0)
    while some := list(islice(rows, STRINGS)):
        codes = []
        numbers = []
        for line, row in some:
            try:
                if len(row) != width:
                    raise ValueError(f"{len(row)} cells, not {width}")
                codes.append(bytes.fromhex(row[1 + labels]))
                if len(codes[-1]) * 8 != bits or len(row[1 + labels]) * 4 != bits:
                    raise ValueError(f"a code of another width than {bits} bits")
                numbers.append([_number(cell) for cell in row[2 + labels :]])
            except ValueError as error:
                raise CodesError(f"{path}: line {line}: {error}; {_MEND}") from None
        table = np.array(numbers, dtype=np.int64).reshape(len(some), -1)
        yield Block(
            np.frombuffer(b"".join(codes), dtype=np.uint8).reshape(len(some), -1),
            [row[0].encode("utf-8", "surrogateescape") for _, row in some],
            [tuple(filter(None, row[1 : 1 + labels])) for _, row in some],
            None,
            table[:, 0] if stats else None,
            table[:, 1] if stats else None,
        )


def _label_columns(labels: int) -> list[str]:
    return ["label"] if labels == 1 else [f"label{place}" for place in range(1, labels + 1)]


def _label_cells(file: CodesFile, block: Codes) -> list[list[str]]:
    if block.records.labels is None:
        return []
    names = [*file.label_names, ""]  # the last for -1
    return [[names[place] for place in column] for column in label_columns(block.records.labels).T.tolist()]


def _number(cell: str) -> int:
    """Return a size or a time. Raises ValueError if it is none."""
    value = int(cell) if cell else UNKNOWN
    if not UNKNOWN <= value < 1 << 63:
        raise ValueError(f"{cell[:40]} is no size or time")
    return value


def _number_cells(values: Any) -> list[Any]:
    return ["" if value == UNKNOWN else value for value in values.tolist()]
