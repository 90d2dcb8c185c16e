"""Make the records of an evaluation: metrics, curves, bit statistics, and example queries with their matches."""

import os
import platform
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import hamming
from ..codes import Codes, Records
from ..evaluation import (
    TIE_RULES,
    Levels,
    diagnose,
    hamming_levels,
    identity,
    measure,
    shared_rows,
    without_label,
)
from ..evaluation.average_precision import average_precision
from ..evaluation.curves import depths_to, radius_curve, ranking_curve
from ..evaluation.embeddings import embedding_levels
from ..evaluation.metrics import DEPTHS
from ..system.progress import Progress, silent
from .records import Curve, Example, Measurement, Picture, Record, Run, TableRow
from .thumbnails import thumbnail

_RUN = "eval"
_MATCHES = 10  # matches shown for an example query
_SIDE = 96  # pixels of a thumbnail
_QUANTILES = 100
_STEPS = 50
_CODES = "hash codes"
_FLOATS = "float embedding"
_PLOTS = ("Precision and recall", "Precision of the first N", "Queries, best first")


def records(
    queries: Codes,
    database: Codes,
    command: str,
    at: int | None = None,
    rule: str = "expected",
    folder: Path | None = None,
    progress: Progress = silent,
) -> Iterator[Record]:
    """Yield the records for a report on an evaluation.

    Args:
        queries: with labels, and with embeddings to compare them.
        database: the same.
        command: the command that reproduces the evaluation.
        at: R of mAP@R, or None for the whole database.
        rule: the tie rule, as in `measure`.
        folder: folder of the images; without it their names are shown.
        progress: called with the number of queries ranked by embeddings so far, and the total.

    Raises MismatchError as `measure` does.
    """
    metrics = measure(queries, database, at, rule)
    levels = hamming_levels(queries, database)
    precisions = average_precision(levels, at)
    yield _run(queries, database, command, rule)
    yield _row(database, metrics)
    yield from _code_curves(database, levels, precisions)
    if queries.embeddings is not None and database.embeddings is not None:
        yield from _floats(queries, database, at, progress)
    yield from _bits(database)
    yield from _examples(queries, database, levels, precisions, folder)


def _run(queries: Codes, database: Codes, command: str, rule: str) -> Run:
    model = database.model
    return Run(
        _RUN,
        "eval",
        f"{model.short_name}: {len(queries):,} queries among {len(database):,} images",
        command,
        datetime.now(UTC).isoformat(timespec="seconds"),
        machine={"cpu": platform.machine(), "cores": os.cpu_count(), "system": platform.system()},
        versions={"transhash": version("transhash"), "numpy": np.__version__, "python": platform.python_version()},
        settings={
            "model": model.short_name,
            "digest": model.digest[:12],
            "queries": identity(queries.records),
            "queries_without_label": without_label(queries.records),
            "queries_in_database": shared_rows(queries.records, database.records),
            "database": identity(database.records),
            "ties": TIE_RULES[rule],
        },
    )


def _dataset(database: Codes) -> str:
    return f"{len(database):,} images"


def _row(database: Codes, metrics: dict[str, float]) -> TableRow:
    """Make a row of metrics; the worst and the best value of a metric become its range."""
    bits = database.model.bits
    values = {"bytes per image": Measurement(bits / 8)}
    for name, value in metrics.items():
        if not name.endswith((" worst", " best")):
            values[name] = Measurement(value, metrics.get(f"{name} worst"), metrics.get(f"{name} best"))
    return TableRow(_RUN, "Metrics", _dataset(database), _CODES, "codes", {"bits": bits}, values)


def _code_curves(database: Codes, levels: Levels, precisions: NDArray[np.float64]) -> Iterator[Curve]:
    dataset, params = _dataset(database), {"bits": database.model.bits}
    ranking, radius = ranking_curve(levels, _depths(len(database))), radius_curve(levels)
    for method, curve in ((_CODES, ranking), (f"{_CODES}, by radius", radius)):
        points = _points(curve.recall, curve.precision)
        yield Curve(_RUN, _PLOTS[0], dataset, method, "codes", params, "recall", "precision", points)
    points = _points(ranking.at, ranking.precision)
    yield Curve(_RUN, _PLOTS[1], dataset, _CODES, "codes", params, "N", "precision", points)
    points = _sorted(precisions)
    yield Curve(_RUN, _PLOTS[2], dataset, _CODES, "codes", params, "share of the queries", "AP", points)
    pairs = {
        "query and image share a label": levels.relevant,
        "query and image share no label": levels.total - levels.relevant,
    }
    for family, (method, counts) in zip(("codes", "peer"), pairs.items(), strict=True):
        shares = counts.sum(axis=0) / max(1, counts.sum())
        points = _points(np.arange(len(shares)), shares)
        yield Curve(_RUN, "Distances", dataset, method, family, {}, "Hamming distance", "share of the pairs", points)


def _floats(queries: Codes, database: Codes, at: int | None, progress: Progress) -> Iterator[Record]:
    """Measure the ranking by embeddings, one block of queries at a time."""
    assert database.embeddings is not None
    depths = _depths(len(database))
    precisions: list[NDArray[np.float64]] = []
    curves = []
    for levels in embedding_levels(queries, database):
        precisions.append(average_precision(levels, at))
        curve = ranking_curve(levels, depths)
        curves.append(len(levels.total) * np.array([curve.precision, curve.recall]))
        progress(sum(map(len, precisions)), len(queries))
    precision, recall = (np.sum(curves, axis=0) / len(queries)).tolist()
    every = np.concatenate(precisions)
    dim, dataset = database.embeddings.shape[1], _dataset(database)
    values = {"bytes per image": Measurement(2 * dim), f"mAP@{at or 'all'}": Measurement(float(every.mean()))}
    values |= {f"P@{depth}": Measurement(precision[depths.index(depth)]) for depth in DEPTHS if depth in depths}
    values |= {f"recall@{depth}": Measurement(recall[depths.index(depth)]) for depth in DEPTHS if depth in depths}
    params = {"numbers": dim}
    yield TableRow(_RUN, "Metrics", dataset, _FLOATS, "float", params, values)
    for plot, x, y, points in (
        (_PLOTS[0], "recall", "precision", list(zip(recall, precision, strict=True))),
        (_PLOTS[1], "N", "precision", list(zip(map(float, depths), precision, strict=True))),
        (_PLOTS[2], "share of the queries", "AP", _sorted(every)),
    ):
        yield Curve(_RUN, plot, dataset, _FLOATS, "float", params, x, y, points)


def _points(x: NDArray[np.number], y: NDArray[np.number]) -> list[tuple[float, float]]:
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _depths(count: int) -> list[int]:
    """Return depths that are evenly spaced on a logarithmic axis, and others that are on a linear one."""
    return sorted({*depths_to(count), *(count * part // _STEPS for part in range(1, _STEPS) if count > _STEPS)})


def _sorted(precisions: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return the quantiles of average precision, highest first."""
    shares = np.linspace(0, 1, min(_QUANTILES, len(precisions) - 1) + 1)
    return _points(shares, np.quantile(precisions, 1 - shares))


def _bits(database: Codes) -> Iterator[Record]:
    bits = diagnose(database.packed)
    values = {
        "lowest share of ones": bits.balance.min(),
        "highest share of ones": bits.balance.max(),
        "mean entropy of a bit": bits.mean_entropy,
        "constant bits": bits.constant_bits,
        "mean correlation of two bits": bits.mean_correlation,
        "highest correlation of two bits": bits.max_correlation,
        "distinct codes": bits.distinct_codes,
        "share of codes with a duplicate": bits.collisions,
        "largest group of equal codes": bits.largest_bucket,
    }
    dataset, params = _dataset(database), {"bits": database.model.bits}
    measured = {name: Measurement(float(value)) for name, value in values.items()}
    yield TableRow(_RUN, "Bits of the database", dataset, _CODES, "codes", params, measured)
    points = _points(np.arange(len(bits.balance)), bits.balance)
    yield Curve(_RUN, "Ones in each bit", dataset, _CODES, "codes", params, "bit", "share of ones", points)


def _examples(
    queries: Codes, database: Codes, levels: Levels, precisions: NDArray[np.float64], folder: Path | None
) -> Iterator[Example]:
    """Yield the best, the median and the worst query among those with a relevant image."""
    answerable = np.flatnonzero(levels.relevant.any(axis=1))
    order = answerable[np.argsort(-precisions[answerable], kind="stable")]
    for name, rank in (("Best", 0), ("Median", len(order) // 2), ("Worst", len(order) - 1)):
        if 0 <= rank < len(order):
            query = int(order[rank])
            yield _example(queries, database, query, f"{name} query: AP {precisions[query]:.3f}", folder)


def _example(queries: Codes, database: Codes, query: int, title: str, folder: Path | None) -> Example:
    nearest = hamming.top_k(queries.packed[query : query + 1], database.packed, min(_MATCHES, len(database)))
    labels = set(queries.records.names(query))
    shown = _picture(queries.records, query, ", ".join(sorted(labels)), folder)
    matches = [
        replace(
            _picture(database.records, int(row), f"{distance}", folder),
            right=not labels.isdisjoint(database.records.names(int(row))),
        )
        for row, distance in zip(nearest.ids[0], nearest.distances[0], strict=True)
    ]
    return Example(_RUN, _dataset(database), _CODES, title, shown, matches)


def _picture(records: Records, row: int, caption: str, folder: Path | None) -> Picture:
    path = os.fsdecode(records.paths[row])
    return Picture(path, caption, True, _thumbnail(folder, path) if folder else "")


def _thumbnail(folder: Path, path: str) -> str:
    """Return a small JPEG of an image in `folder`, in base64; empty if it is missing or outside the folder."""
    inside = os.path.normpath(folder.absolute() / path)
    if os.path.commonpath([inside, folder.absolute()]) != os.path.normpath(folder.absolute()):
        return ""
    return thumbnail(inside, _SIDE, square=True)
