"""Vega-Lite charts. Colours are CSS variables of the page, so that one chart serves the light and the dark theme."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

from . import figures

Spec = dict[str, Any]

_HUES = {"codes": 4, "float": 4, "peer": 6}  # number of the page's colours per family
_SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "triangle-right", "triangle-left")
_LOG = 50.0  # an axis that spans more than this factor is logarithmic
_HEIGHT = 340
_BAR = 26
_LONG = 36  # characters; legends with labels this long have two columns instead of three
_FONT = "system-ui, 'Segoe UI', Roboto, sans-serif"


@dataclass(frozen=True)
class Point:
    """A point of a method: (x, y), the range of y, and the text beside it, if any.

    Colour and shape depend on `method`; `label` is the tooltip.
    """

    method: str
    family: str
    label: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None
    text: str = ""


@dataclass(frozen=True)
class Dot:
    """A figure of a method; `which` names it, such as ``median``, or is empty for an end of the range."""

    label: str
    family: str
    which: str
    value: float


def lines(title: str, x: str, y: str, points: Sequence[Point], logarithmic: bool = False) -> Spec:
    """Draw points, connected per method in the order of x, with a legend that highlights the clicked method."""
    methods, colours, shapes = _styles(points)
    axes = [
        _axis(kind, name, [getattr(point, field) for point in points], logarithmic)
        for kind, name, field in ((alt.X, x, "x"), (alt.Y, y, "y"))
    ]
    picked = alt.selection_point(fields=["method"], bind="legend")
    base = alt.Chart().encode(
        *axes,
        color=alt.Color("method:N", scale=alt.Scale(domain=methods, range=colours), legend=_legend(methods)),
        opacity=alt.when(picked).then(alt.value(1)).otherwise(alt.value(0.12)),
    )
    described = [
        alt.Tooltip("label:N", title="method"),
        alt.Tooltip("x:Q", title=x, format=_format(x)),
        alt.Tooltip("y:Q", title=y, format=_format(y)),
    ]
    layers = [
        base.mark_line().encode(
            order="x:Q",
            strokeWidth=alt.when(alt.datum.family == "codes").then(alt.value(3)).otherwise(alt.value(1.5)),
        ),
        base.mark_point(filled=True, size=70 if len(points) <= 24 * len(methods) else 16)
        .encode(
            shape=alt.Shape("method:N", scale=alt.Scale(domain=methods, range=shapes), legend=_legend(methods)),
            tooltip=described,
        )
        .add_params(picked),
    ]
    if any(point.low is not None for point in points):
        layers.append(base.mark_rule(strokeWidth=1.5).encode(alt.Y("low:Q"), alt.Y2("high:Q")))
    for align, side in (("left", 1), ("right", -1)):
        middle = sorted(point.x for point in points)[-1] / 2
        labelled = [point for point in points if point.text and (point.x > middle) == (side < 0)]
        if labelled:
            layers.append(_names(labelled, align, side * 10, axes))
    ours_on_top = sorted(points, key=lambda point: point.family == "codes")
    return _spec(alt.layer(*layers, data=_values(ours_on_top)), _HEIGHT, title)


def bars(title: str, x: str, y: str, points: Sequence[Point]) -> Spec:
    """Draw shares, from 0 to 1, one bar for each x."""
    chart = (
        alt.Chart(_values(points))
        .mark_bar(color="var(--codes-0)")
        .encode(
            alt.X("x:O", title=x, axis=alt.Axis(labelOverlap=True, labelAngle=0)),
            alt.Y("y:Q", title=y, scale=alt.Scale(domain=[0, 1])),
            tooltip=[alt.Tooltip("x:O", title=x), alt.Tooltip("y:Q", title=y, format=_format(y))],
        )
    )
    return _spec(chart, _HEIGHT // 2, title)


def dots(title: str, x: str, rows: Sequence[Dot]) -> Spec:
    """Draw a horizontal line per method, from its lowest to its highest figure, with marks; the best on top."""
    marked = [row for row in rows if row.which]
    which = list(dict.fromkeys(row.which for row in marked))
    first = [row for row in marked if row.which == which[0]]
    order = [row.label for row in sorted(first, key=lambda row: -figures.better(x) * row.value)]
    values = [row.value for row in rows]
    wide = _is_logarithmic(values) and not x.startswith(figures.SHARES)
    scale = alt.Scale(type="log", nice=False, padding=12) if wide else alt.Scale(zero=False, padding=12)
    base = alt.Chart().encode(
        alt.Y("label:N", sort=order, title=None, axis=alt.Axis(labelLimit=alt.ExprRef("width < 500 ? 130 : 380"))),
        color=alt.Color(
            "family:N",
            scale=alt.Scale(domain=list(_HUES), range=[f"var(--{family}-0)" for family in _HUES]),
            legend=None,
        ),
    )
    layers = [
        base.mark_rule(strokeWidth=3, opacity=0.5).encode(alt.X("min(value):Q", scale=scale), alt.X2("max(value):Q")),
        base.mark_point(filled=True, size=90, opacity=1)
        .properties(data=_values(marked))
        .encode(
            alt.X("value:Q", title=x, scale=scale, axis=_ticks(x, values if wide else [])),
            shape=alt.Shape(
                "which:N",
                scale=alt.Scale(domain=which, range=list(_SHAPES[: len(which)])),
                legend=_legend(which) if len(which) > 1 else None,
            ),
            tooltip=[
                alt.Tooltip("label:N", title="method"),
                alt.Tooltip("which:N", title="which"),
                alt.Tooltip("value:Q", title=x, format=_format(x)),
            ],
        ),
    ]
    return _spec(alt.layer(*layers, data=_values(rows)), _BAR * (len(order) + 1), title)


def _names(points: Sequence[Point], align: str, dx: int, axes: Sequence[Any]) -> Any:
    """Write labels beside points, on the side with more space."""
    return (
        alt.Chart(_values(points))
        .mark_text(
            align=align,
            dx=dx,
            dy=-dx,  # above on one side, below on the other, so that labels do not overlap
            fontSize=12,
            fontWeight=600,
            color="var(--ink)",
            limit=alt.ExprRef("width * 0.8"),
        )
        .encode(*axes, text="text:N")
    )


def _styles(points: Sequence[Point]) -> tuple[list[str], list[str], list[str]]:
    """Assign each method a colour of its family and a shape."""
    families = {point.method: point.family for point in points}
    seen = dict.fromkeys(_HUES, 0)
    colours = []
    for family in families.values():
        colours.append(f"var(--{family}-{seen[family] % _HUES[family]})")
        seen[family] += 1
    shapes = [_SHAPES[number % len(_SHAPES)] for number in range(len(families))]
    return list(families), colours, shapes


def _axis(kind: Any, name: str, values: Sequence[float], logarithmic: bool) -> Any:
    field = "x:Q" if kind is alt.X else "y:Q"
    if (_is_logarithmic(values) and not name.startswith(figures.SHARES)) or (logarithmic and min(values) > 0):
        return kind(field, title=name, scale=alt.Scale(type="log", nice=False, padding=12), axis=_ticks(name, values))
    with_zero = 0 <= min(values) < max(values) / 2
    scale = alt.Scale(zero=True) if with_zero else alt.Scale(zero=False, padding=8)
    return kind(field, title=name, scale=scale, axis=_ticks(name, []))


def _ticks(name: str, values: Sequence[float]) -> alt.Axis:
    """Place the ticks of a logarithmic axis: powers of two for bytes, else 1, or 1, 2 and 5, times powers of ten."""
    if not _is_logarithmic(values):
        return alt.Axis(format=_format(name), labelOverlap=True, tickCount=6)
    low, high = math.log10(min(values)), math.log10(max(values))
    if name.startswith("bytes"):
        ticks = [2.0**power for power in range(math.ceil(low / math.log10(2)), math.floor(high / math.log10(2)) + 1)]
        ticks = ticks[:: 1 + len(ticks) // 8]
    else:
        digits = (1, 2, 5) if high - low < 3 else (1,)
        ticks = [digit * 10.0**power for power in range(math.floor(low), math.ceil(high) + 1) for digit in digits]
    return alt.Axis(format=_format(name), labelOverlap=True, values=ticks)


def _is_logarithmic(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) / min(values) > _LOG


def _format(name: str) -> str:
    """Return the d3 format of a figure."""
    return ".3~f" if name.startswith(figures.SHARES) else ",.4~r"


def _legend(labels: Sequence[str]) -> alt.Legend:
    """Return a legend below the chart, with fewer columns for long labels or on a narrow screen."""
    columns = 3 if max(map(len, labels)) < _LONG else 2
    return alt.Legend(
        title=None,
        orient="bottom",
        columns=alt.ExprRef(f"width < 500 ? 1 : {columns}"),
        labelLimit=alt.ExprRef(f"width < 500 ? width - 24 : width / {columns} - 24"),
        symbolLimit=60,
        symbolOpacity=1,
    )


def _values(points: Sequence[Point | Dot]) -> alt.Data:
    return alt.Data(
        values=[
            {name: _rounded(value) for name, value in vars(point).items() if value not in (None, "")}
            for point in points
        ]
    )


def _rounded(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _spec(chart: Any, height: int, description: str) -> Spec:
    spec: Spec = (
        chart.properties(width="container", height=height, description=description)
        .configure(
            background="transparent",
            font=_FONT,
            padding=4,
            autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
        )
        .configure_view(stroke=None)
        .configure_axis(
            labelColor="var(--dim)",
            titleColor="var(--ink)",
            titleFontWeight=600,
            gridColor="var(--line)",
            domainColor="var(--line)",
            tickColor="var(--line)",
            labelFontSize=12,
            titleFontSize=12,
        )
        .configure_legend(
            labelColor="var(--ink)",
            symbolBaseFillColor="var(--ink)",
            titleColor="var(--dim)",
            labelFontSize=12,
            titleFontSize=12,
        )
        .to_dict()
    )
    return spec
