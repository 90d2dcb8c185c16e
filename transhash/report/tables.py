"""Group rows into tables, for HTML, Markdown and CSV."""

from dataclasses import dataclass, replace
from typing import Any

from . import figures
from .records import Measurement, TableRow
from .sections import Section


@dataclass(frozen=True)
class ResultsTable:
    """The rows of one table, with what is needed to draw it.

    Attributes:
        title: name of the table.
        datasets: whether the rows are of several data sets, so that a column must name them.
        common: parameters that are equal in all rows.
        columns: names of all figures, in the order in which they first appear.
        rows: the rows in the order of the file, without the common parameters.
        best: the best value by data set and figure, where it is known which direction is better and rows differ.
    """

    title: str
    datasets: bool
    common: dict[str, Any]
    columns: list[str]
    rows: list[TableRow]
    best: dict[tuple[str, str], float]

    def wins(self, row: TableRow, column: str) -> bool:
        """Whether the row has the best value of its data set, and others are worse."""
        return column in row.values and row.values[column].value == self.best.get((row.dataset, column))


def tables(section: Section) -> list[ResultsTable]:
    """Return the tables of a run, in the order in which they first appear."""
    by_title: dict[str, list[TableRow]] = {}
    for row in section.rows:
        by_title.setdefault(row.table, []).append(row)
    return [table(title, rows) for title, rows in by_title.items()]


def table(title: str, rows: list[TableRow]) -> ResultsTable:
    """Make a table of rows."""
    columns = list(dict.fromkeys(name for row in rows for name in row.values))
    values: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        for name, figure in row.values.items():
            values.setdefault((row.dataset, name), []).append(figure.value)
    best = {
        key: max(candidates, key=lambda value: figures.better(key[1]) * value)
        for key, candidates in values.items()
        if figures.better(key[1]) and len(set(candidates)) > 1
    }
    common = figures.shared([row.params for row in rows])
    shortened = [replace(row, params=figures.rest(row.params, common)) for row in rows]
    return ResultsTable(title, len({row.dataset for row in rows}) > 1, common, columns, shortened, best)


def cell(row: TableRow, column: str) -> str:
    """Format a row's figure; empty if it has none."""
    figure: Measurement | None = row.values.get(column)
    return figures.spell(column, figure) if figure else ""
