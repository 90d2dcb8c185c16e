"""Rows as tables, for a page, for Markdown and for CSV alike."""

from dataclasses import dataclass, replace
from typing import Any

from . import figures
from .records import Measurement, Row
from .sections import Section


@dataclass(frozen=True)
class Table:
    """Rows that stand together.

    Attributes:
        title: what the rows call their table.
        datasets: whether they are of more than one data set, so that a column has to say which.
        common: the parameters of all rows alike; they belong to none of them.
        columns: the figures that any row has, in the order in which they first appear.
        rows: in the order of the file, without the common parameters.
        best: for each data set and figure the best value, where it is known which end is better and rows differ.
    """

    title: str
    datasets: bool
    common: dict[str, Any]
    columns: list[str]
    rows: list[Row]
    best: dict[tuple[str, str], float]

    def wins(self, row: Row, column: str) -> bool:
        """Whether no other row of the same data set has a better figure, and some have a worse one."""
        return column in row.values and row.values[column].value == self.best.get((row.dataset, column))


def tables(section: Section) -> list[Table]:
    """Return the tables of a run, in the order in which they first appear."""
    by_title: dict[str, list[Row]] = {}
    for row in section.rows:
        by_title.setdefault(row.table, []).append(row)
    return [table(title, rows) for title, rows in by_title.items()]


def table(title: str, rows: list[Row]) -> Table:
    """Put rows together."""
    columns = list(dict.fromkeys(name for row in rows for name in row.values))
    values: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        for name, figure in row.values.items():
            values.setdefault((row.dataset, name), []).append(figure.value)
    best = {key: max(found, key=lambda value: figures.better(key[1]) * value) for key, found in values.items()}
    told = {key: value for key, value in best.items() if figures.better(key[1]) and len(set(values[key])) > 1}
    common = figures.shared([row.params for row in rows])
    own = [replace(row, params=figures.rest(row.params, common)) for row in rows]
    return Table(title, len({row.dataset for row in rows}) > 1, common, columns, own, told)


def cell(row: Row, column: str) -> str:
    """Spell a row's figure; empty if it has none."""
    figure: Measurement | None = row.values.get(column)
    return figures.spell(column, figure) if figure else ""
