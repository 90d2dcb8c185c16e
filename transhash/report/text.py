"""Write the tables of a report as Markdown or CSV."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from . import figures, output
from .records import Record, Run, TableRow
from .sections import Section, gather
from .summary import summarize
from .tables import ResultsTable, cell, tables

_MARK = "<!-- a report of TransHash -->"
_COLUMNS = (
    *("suite", "date", "commit", "table", "dataset", "family", "method", "params"),
    *("figure", "value", "low", "high", "command"),
)
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet evaluates such a cell
_ESCAPES = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]<>|&"})


def write_markdown(path: str | Path, records: Iterable[Record]) -> None:
    """Write the summary, the tables and the skipped measurements as Markdown, atomically.

    Raises OutputError if `path` exists and is not an earlier report.
    """
    output.write(
        Path(path), f"{_MARK}\n\n{markdown(gather(records))}".encode("utf-8", "backslashreplace"), _MARK.encode()
    )


def write_csv(path: str | Path, records: Iterable[Record]) -> None:
    """Write every figure as a row of CSV (RFC 4180), atomically.

    Text that a spreadsheet would evaluate as a formula is prefixed with an apostrophe.
    Raises OutputError if `path` exists and is not an earlier report.
    """
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(_COLUMNS)
    for section in gather(records):
        rows.writerows(line for row in section.rows for line in _csv_rows(section.run, row))
    output.write(Path(path), text.getvalue().encode("utf-8", "backslashreplace"), ",".join(_COLUMNS).encode())


def markdown(sections: Sequence[Section]) -> str:
    """Return a report as Markdown, without plots and images."""
    summary = summarize(sections)
    lines = [f"- {_plain(sentence)}" for sentence in summary.buys + summary.costs]
    for section in sections:
        lines += ["", f"## {_plain(section.run.title)}"]
        for table in tables(section):
            lines += ["", f"### {_plain(table.title)}", "", *markdown_table(table)]
        if section.skipped:
            lines += ["", "Not run:", ""]
            lines += [f"- {_plain(f'{skip.method}, {skip.dataset}: {skip.reason}')}" for skip in section.skipped]
        lines += ["", *_measured(section.run)]
    return "\n".join(lines).strip() + "\n"


def markdown_table(table: ResultsTable, columns: Sequence[str] = ()) -> list[str]:
    """Return a table as lines of Markdown, with `columns` or all; rows of codes are bold if they are a minority."""
    shown = list(columns) or table.columns
    before = ["data", "method"] if table.datasets else ["method"]
    lines = [_line([*before, *map(_plain, shown)]), "|" + "---|" * len(before) + "---:|" * len(shown)]
    few = 2 * sum(row.family == "codes" for row in table.rows) < len(table.rows)
    above = ""
    for row in table.rows:
        cells = [figures.label(row.method, row.params), *(cell(row, name) for name in shown)]
        marked = [_marked(_plain(text), few and row.family == "codes") for text in cells]
        lines.append(
            _line([_plain(row.dataset) if row.dataset != above else "", *marked] if table.datasets else marked)
        )
        above = row.dataset
    if table.common:
        lines += ["", f"All with {_plain(', '.join(figures.spelled(table.common)))}."]
    return lines


def _measured(run: Run) -> Iterator[str]:
    yield f"Measured {_plain(run.date)}{f', commit {_plain(run.commit)}' if run.commit else ''}:"
    yield ""
    yield from (f"    {line}" for line in run.command.splitlines())


def _csv_rows(run: Run, row: TableRow) -> Iterator[list[object]]:
    params = ", ".join(figures.spelled(row.params))
    cells = [run.suite, run.date, run.commit, row.table, row.dataset, row.family, row.method, params]
    for name, figure in row.values.items():
        numbers = [figure.value, figure.low, figure.high]
        yield [*map(_inert, cells), _inert(name), *numbers, _inert(run.command)]


def _inert(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _plain(text: str) -> str:
    """Escape text for Markdown, on one line."""
    return " ".join(text.split()).translate(_ESCAPES)


def _marked(text: str, bold: bool) -> str:
    return f"**{text}**" if bold and text else text


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
