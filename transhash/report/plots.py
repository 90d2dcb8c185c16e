"""The plots of a run: accuracy against size, its curves, and its query times."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from . import charts, figures
from .accuracy import accuracies
from .charts import Dot, Point
from .records import Curve, TableRow
from .sections import Section

_QUERIES = {
    "ms per query": "median",
    "ms per query p95": "95 in 100 queries",
    "ms per query p99": "99 in 100 queries",
}
_LINES = ("hasher", "candidates", "with")  # parameters that start a new line; others add a point to it
_MANY_METHODS = 5  # from this number of methods on, their accuracy gets its own plot


@dataclass(frozen=True)
class Plot:
    """A Vega-Lite chart for one data set, with a note on how to read it."""

    name: str
    dataset: str
    note: str
    spec: charts.Spec


def plots(section: Section) -> list[list[Plot]]:
    """Return the plots of a run, grouped by name, the largest data set of each group first."""
    speed = any(curve.y == "queries/s" for curve in section.curves)
    drawn = [
        *_scatters(section.rows, "bytes per image", "mAP", _named(section)),
        *_ranks(section.rows),
        *_curves(section.curves),
        *([] if speed else _scatters(section.rows, "recall@", "queries/s")),
        *_latencies(section.rows),
    ]
    groups: dict[str, list[Plot]] = {}
    for plot in drawn:
        groups.setdefault(plot.name, []).append(plot)
    return [sorted(group, key=lambda plot: -(figures.size(plot.dataset) or 0)) for group in groups.values()]


def exponent(points: Sequence[tuple[float, float]]) -> float | None:
    """Fit y ∝ x^b by least squares of the logarithms and return b; None for fewer than three positive points."""
    logs = [(math.log(x), math.log(y)) for x, y in points if x > 0 and y > 0]
    middle = sum(x for x, _ in logs) / max(1, len(logs))
    spread = sum((x - middle) ** 2 for x, _ in logs)
    if len(logs) < 3 or not spread:
        return None
    return sum((x - middle) * y for x, y in logs) / spread


def _named(section: Section) -> list[TableRow]:
    """Return the rows whose points are labelled: those that the summary mentions."""
    return [row for comparison in accuracies(section) for row in (comparison.ours, comparison.floats) if row]


def _scatters(rows: Sequence[TableRow], x: str, y: str, named: Sequence[TableRow] = ()) -> list[Plot]:
    """Draw one figure against another, with a line for each method of several rows; one plot per data set."""
    groups: dict[tuple[str, str, str, str], list[TableRow]] = {}
    for row in rows:
        across, up = (next((name for name in row.values if name.startswith(start)), "") for start in (x, y))
        if across and up:
            groups.setdefault((row.table, row.dataset, across, up), []).append(row)
    drawn = []
    for (_, dataset, across, up), group in groups.items():
        if len(group) > 1:
            points = [
                _point(row, line, label, across, up, any(row is other for other in named))
                for row, line, label in zip(group, _labels(group, _LINES), _labels(group), strict=True)
            ]
            name = f"{up} against {across}"
            spec = charts.lines(f"{name}, {dataset}", across, up, points)
            drawn.append(Plot(name, dataset, _note(across, up), spec))
    return drawn


def _labels(records: Sequence[TableRow | Curve], only: Sequence[str] = ()) -> list[str]:
    """Label records that are drawn together: method and the parameters that differ, or those in `only`."""
    common = figures.shared([record.params for record in records])
    differing = [figures.rest(record.params, common) for record in records]
    if only:
        differing = [{name: value for name, value in params.items() if name in only} for params in differing]
    return [figures.label(record.method, params) for record, params in zip(records, differing, strict=True)]


def _point(row: TableRow, line: str, label: str, x: str, y: str, named: bool) -> Point:
    figure = row.values[y]
    text = label if named else ""
    return Point(line, row.family, label, row.values[x].value, figure.value, figure.low, figure.high, text)


def _curves(curves: Sequence[Curve]) -> list[Plot]:
    groups: dict[tuple[str, str, str, str], list[Curve]] = {}
    for curve in curves:
        if curve.points:
            groups.setdefault((curve.plot, curve.dataset, curve.x, curve.y), []).append(curve)
    return [_curve_plot(*key, group) for key, group in groups.items()]


def _curve_plot(plot: str, dataset: str, x: str, y: str, curves: Sequence[Curve]) -> Plot:
    grows = x == "codes"
    points = []
    alone = len({curve.method for curve in curves}) == len(curves)
    for curve, name in zip(curves, _labels(curves), strict=True):
        power = exponent(curve.points) if grows else None
        shown = (curve.method if alone else name) + ("" if power is None else f": ∝ {x}^{power:.2f}")
        points += [Point(shown, curve.family, name, *point) for point in curve.points]
    title = f"{plot}, {dataset}"
    if x == "bit":
        return Plot(plot, dataset, f"{y} for each {x}.", charts.bars(title, x, y, points))
    return Plot(plot, dataset, _note(x, y), charts.lines(title, x, y, points, grows))


def _ranks(rows: Sequence[TableRow]) -> list[Plot]:
    """Draw the accuracy of each method with its range, one per line, so that methods of equal size do not overlap."""
    drawn = []
    for dataset, group in _by_dataset(rows, "mAP"):
        metric = next(name for name in group[0].values if name.startswith("mAP"))
        dots = [
            Dot(label, row.family, which, value)
            for row, label in zip(group, _labels(group), strict=True)
            if (figure := row.values.get(metric))
            for which, value in ((metric, figure.value), ("", figure.low), ("", figure.high))
            if value is not None
        ]
        if len(group) >= _MANY_METHODS:
            spec = charts.dots(f"{metric}, {dataset}", metric, dots)
            drawn.append(Plot(f"{metric} of each method", dataset, _note("", metric), spec))
    return drawn


def _latencies(rows: Sequence[TableRow]) -> list[Plot]:
    drawn = []
    for dataset, group in _by_dataset(rows, "ms per query"):
        dots = [
            Dot(label, row.family, which, row.values[name].value)
            for row, label in zip(group, _labels(group), strict=True)
            for name, which in _QUERIES.items()
            if name in row.values and row.values[name].value > 0
        ]
        if len({dot.label for dot in dots}) > 1:
            spec = charts.dots(f"ms per query, {dataset}", "ms per query", dots)
            drawn.append(Plot("ms per query", dataset, "One query at a time; lower is better.", spec))
    return drawn


def _by_dataset(rows: Sequence[TableRow], start: str) -> list[tuple[str, list[TableRow]]]:
    """Return the rows with a figure whose name starts with `start`, grouped by table and data set."""
    groups: dict[tuple[str, str], list[TableRow]] = {}
    for row in rows:
        if any(name.startswith(start) for name in row.values):
            groups.setdefault((row.table, row.dataset), []).append(row)
    return [(dataset, group) for (_, dataset), group in groups.items()]


def _note(x: str, y: str) -> str:
    directions = {1: "higher is better", -1: "lower is better"}
    notes = [f"{name}: {directions[figures.better(name)]}" for name in (y, x) if figures.better(name)]
    return "; ".join(notes) + ("." if notes else "")
