"""Measure how the cost of build, search, evaluation, dedup and changes grows with the number and length of codes."""

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import click
import numpy as np

from transhash import hamming
from transhash.duplicates.linking import components
from transhash.report.records import Curve, Measurement, Record, Skipped, TableRow

from . import config, methods, suites
from .collection import Clustered, Collection, write
from .edits import CHANGES, measured
from .figures import exponent, latencies, spread
from .machine import free_memory
from .runs import Results, as_settings
from .worker import Failed, Worker

_TABLE, _FITS = "Growth", "Exponents: figure ∝ codes^e or bits^e"
_EVALUATION, _DEDUP = "evaluation", "dedup"
_NEAR = 16  # duplicates differ in at most a sixteenth of their bits
_CLASSES = 10
_DIM = 64  # dimensions of the vectors that codes are computed from
_FITTED = (
    "ms per query",
    "s per query in a batch",
    "build s",
    "MiB to search, without the library",
    "bytes on disk",
    "s",
    "s of a processor",
    "MiB to change",
)


@dataclass(frozen=True)
class Scaling:
    """The settings of the suite.

    Attributes:
        counts: numbers of codes; an exponent needs at least three.
        bits: code lengths; an exponent needs at least three.
        queries: queries in a batch and in an evaluation.
        singles: queries searched one at a time.
        k: number of neighbours.
        repeats: rounds; figures are medians over them.
        threads: threads of builds, searches and evaluations.
        seed: seed of the codes.
        methods: names of the methods.
        parameter_values: value of the search parameter by method name; by default, its lowest value.
        changed: rows that each change of an index adds, removes or replaces.
        changed_types: types of the indexes that are changed.
    """

    counts: list[int]
    bits: list[int]
    queries: int
    singles: int
    k: int
    repeats: int
    threads: int
    seed: int
    methods: list[str]
    parameter_values: dict[str, int]
    changed: int
    changed_types: list[str]

    @property
    def rows(self) -> list[str]:
        """The names of everything that is measured for a collection."""
        return [
            *self.methods,
            _EVALUATION,
            _DEDUP,
            *(_change(*names) for names in product(CHANGES, self.changed_types)),
        ]


@click.command("scaling")
@suites.options("scaling")
def command(config_path: Path | None, small: bool, output: Path) -> None:
    """Measure figures at growing numbers and lengths of codes, and fit their exponents with standard errors."""
    chosen = config.load(Scaling, "scaling", small, config_path)
    for name in chosen.methods:
        if methods.find(name).over != "codes":
            raise click.UsageError(f"{name}: does not search codes")
    settings = as_settings(chosen, without=("counts", "bits")) | {"data": "clustered"}
    results = Results.open(output, "scaling", "Growth with the number of codes and with their width", settings)
    for bits in chosen.bits:
        for count in chosen.counts:
            measure(results, chosen, count, bits)
    fit(results, chosen)


def dataset(count: int, bits: int) -> str:
    """Return the name of a collection."""
    return f"clustered, {count:,} codes of {bits} bits"


def measure(results: Results, chosen: Scaling, count: int, bits: int) -> None:
    """Measure one collection, unless the results already contain it."""
    name = dataset(count, bits)
    if results.has(name, chosen.rows):
        suites.show_progress(f"{name}: measured before")
        return
    suites.show_progress(name)
    folder = results.work / f"{bits}-{count}"
    collection = write(folder / "data", Clustered(_DIM, bits, chosen.queries, chosen.seed), count, vectors=False)
    records: list[Record] = []
    for method in chosen.methods:
        try:
            values = _searched(chosen, method, collection, folder)
        except Failed as error:
            records.append(Skipped(results.run.id, name, method, str(error)))
            continue
        params = {"bits": bits}
        records.append(TableRow(results.run.id, _TABLE, name, method, methods.find(method).family, params, values))
    for method, values in _other_figures(chosen, collection, folder):
        records.append(TableRow(results.run.id, _TABLE, name, method, "codes", {"bits": bits}, values))
    results.write(records)
    results.remove(folder)


def _searched(chosen: Scaling, method: str, collection: Collection, folder: Path) -> dict[str, Measurement]:
    """Build an index and search it, in separate processes. Raises Failed."""
    kind = methods.find(method)
    reason = methods.missing(kind, "")
    if not reason and kind.bytes_needed(collection.count, collection.bits, collection.dim) > free_memory():
        reason = "does not fit into memory"
    if reason:
        raise Failed(reason)
    place = folder / method.replace(" ", "-")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    data = [str(collection.folder), collection.count, collection.bits, collection.dim]
    with Worker(method, chosen.threads) as worker:
        built = worker.ask("build", collection=data, folder=str(place))
    with Worker(method, chosen.threads) as worker:
        empty = worker.ask("peak")
        queries = str(collection.folder / "query_codes.npy")
        values = worker.ask("load", folder=str(place), queries=queries)
        arguments = {"k": chosen.k, "value": min(chosen.parameter_values.get(method, values[0]), values[-1])}
        worker.ask("batch", **arguments)
        singles = [worker.ask("single", **arguments, count=chosen.singles) for _ in range(chosen.repeats)]
        batches = [worker.ask("batch", **arguments) for _ in range(chosen.repeats)]
        peak = worker.ask("peak")
    shutil.rmtree(place)
    return latencies(singles) | {
        "queries/s": spread([chosen.queries / seconds for seconds in batches]),
        "s per query in a batch": spread([seconds / chosen.queries for seconds in batches]),
        "build s": Measurement(built["seconds"]),
        "MiB to build": Measurement(built["MiB"]),
        "MiB to search": Measurement(peak),
        "MiB to search, without the library": Measurement(peak - empty),
        "bytes on disk": Measurement(built["bytes"]),
    }


def _other_figures(
    chosen: Scaling, collection: Collection, folder: Path
) -> Iterator[tuple[str, dict[str, Measurement]]]:
    """Yield the figures of whatever is not a search: by name."""
    yield _EVALUATION, {"s": spread(_evaluations(chosen, collection))}
    codes, began = np.array(collection.codes), time.perf_counter()
    components(codes, collection.bits // _NEAR)
    yield _DEDUP, {"s": Measurement(time.perf_counter() - began)}
    for kind in chosen.changed_types:
        for change, cost in measured(folder / kind, collection.count, collection.bits, kind, chosen.changed):
            yield (
                _change(change, kind),
                {"s of a processor": Measurement(cost.busy), "MiB to change": Measurement(cost.peak)},
            )
        shutil.rmtree(folder / kind)


def _change(change: str, kind: str) -> str:
    return f"{change}, {kind}"


def _evaluations(chosen: Scaling, collection: Collection) -> list[float]:
    """Return the seconds to count codes by distance and relevance, the input of every metric, round by round."""
    rng = np.random.default_rng(chosen.seed)
    query_labels, labels = (
        rng.integers(_CLASSES, size=count).astype(np.int32) for count in (chosen.queries, collection.count)
    )
    queries, codes = collection.query_codes, np.array(collection.codes)
    times = []
    for round in range(-1, chosen.repeats):
        began = time.perf_counter()
        hamming.counts(queries, codes, query_labels, labels)
        if round >= 0:
            times.append(time.perf_counter() - began)
    return times


def fit(results: Results, chosen: Scaling) -> None:
    """Write curves and exponents over the numbers of codes at each length, and over lengths at the largest number."""
    for bits in chosen.bits:
        _fit(results, chosen, "codes", [(count, dataset(count, bits)) for count in chosen.counts], f"{bits} bits")
    largest = max(chosen.counts)
    named = [(bits, dataset(largest, bits)) for bits in chosen.bits]
    _fit(results, chosen, "bits", named, f"{largest:,} codes")


def _fit(results: Results, chosen: Scaling, axis: str, named: Sequence[tuple[int, str]], fixed: str) -> None:
    name = f"clustered, {named[0][0]:,} to {named[-1][0]:,} {axis}, {fixed}"
    if len(named) < 3 or results.has(name, chosen.rows):
        return
    rows = {
        (record.method, record.dataset): record
        for _, place in named
        for record in results.records(place)
        if isinstance(record, TableRow)
    }
    records: list[Record] = []
    for method in chosen.rows:
        sizes = [(x, rows[method, place]) for x, place in named if (method, place) in rows]
        if len(sizes) < 3:
            records.append(Skipped(results.run.id, name, method, "an exponent needs at least three sizes"))
            continue
        exponents: dict[str, Measurement] = {}
        for figure in _FITTED:
            points = [(float(x), row.values[figure].value) for x, row in sizes if figure in row.values]
            if min((y for _, y in points), default=0.0) <= 0:
                continue
            slope, error = exponent(*zip(*points, strict=True))
            exponents |= {f"e of {figure}": Measurement(slope), f"e of {figure}, standard error": Measurement(error)}
            plot = f"{figure} by {axis}"
            records.append(Curve(results.run.id, plot, name, method, sizes[0][1].family, {}, axis, figure, points))
        records.append(TableRow(results.run.id, _FITS, name, method, sizes[0][1].family, {"over": axis}, exponents))
    results.write(records)
