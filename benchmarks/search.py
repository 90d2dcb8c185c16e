"""Compare our indexes with those of other libraries over the same codes, and over their float embeddings."""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from transhash.evaluation import identity
from transhash.report.records import Curve, Measurement, Record, Skipped, TableRow
from transhash.results import NO_ID

from . import config, methods, suites
from .collection import Clustered, Collection, Grown, Origin, nearest_codes, nearest_vectors, write
from .encoded import EncodedSet, read_pair
from .figures import latencies, share_as_near, spread
from .machine import free_memory
from .runs import Results, as_settings
from .worker import Failed, Worker

_TABLE = "Search"
_SUFFICIENT_RECALL = 0.999  # stop increasing the search parameter at this recall
_SLACK = 1e-5  # tolerance of cosines in float32


@dataclass(frozen=True)
class ComparisonConfig:
    """Settings of a comparison of methods.

    Attributes:
        singles: queries searched one at a time.
        k: number of neighbours.
        recall: the row of a method shows its cheapest setting with this recall, or else the one with the highest.
        repeats: rounds; in each, every method is measured once.
        threads: threads of searches.
        build_threads: threads of builds.
        patience: seconds of a batch after which the search parameter is not increased further.
        methods: names of the methods.
        largest: largest number of rows for which a method is built, by method name.
    """

    singles: int
    k: int
    recall: float
    repeats: int
    threads: int
    build_threads: int
    patience: float
    methods: list[str]
    largest: dict[str, int]


@dataclass(frozen=True)
class Search(ComparisonConfig):
    """The settings of the suite.

    Attributes:
        counts: numbers of rows.
        bits: code lengths; ignored with --codes.
        dim: dimensions of an embedding; longer ones are reduced to their principal components.
        queries: number of queries in a batch.
        seed: seed of the data.
    """

    counts: list[int]
    bits: list[int]
    dim: int
    queries: int
    seed: int


@dataclass
class Setting:
    """A value of the search parameter with its recall and its times.

    Attributes:
        value: value of the search parameter.
        recall: recall by distance.
        floats: recall of the nearest float embeddings; None if they are not compared.
        single: milliseconds of each single query, round by round.
        batch: seconds of a batch, round by round.
    """

    value: int
    recall: float
    floats: float | None
    single: list[list[float]] = field(default_factory=list)
    batch: list[float] = field(default_factory=list)


@click.command("search")
@suites.options("search")
@suites.codes_option()
@click.option(
    "-n", "counts", type=suites.COUNT, multiple=True, help="Number of rows; overrides the settings; repeatable."
)
@click.option("--milvus-uri", default="", help="Milvus server to compare with.")
def command(
    config_path: Path | None,
    small: bool,
    output: Path,
    pairs: Sequence[tuple[Path, Path]],
    counts: tuple[int, ...],
    milvus_uri: str,
) -> None:
    """Measure latency, throughput, recall, build time, memory and size of all methods over the same collection.

    Without --codes, the collection is generated around random centres. With it, the embeddings in the files are
    extended by similar ones.
    """
    chosen = config.load(Search, "search", small, config_path)
    for name in chosen.methods:
        methods.find(name)
    files = [read_pair(*pair) for pair in pairs]
    settings = as_settings(chosen, without=("counts", "bits")) | {
        "data": [f"{identity(side.file.records)} by {side.digest}" for pair in files for side in pair] or "clustered",
        "milvus": bool(milvus_uri),
    }
    results = Results.open(output, "search", "Search: one query at a time, and batches", settings)
    for origin in _origins(chosen, files):
        if isinstance(origin, Grown):
            _describe(results, origin)
        for count in counts or chosen.counts:
            compare(results, chosen, origin, count, milvus_uri)


def _origins(chosen: Search, files: Sequence[tuple[EncodedSet, EncodedSet]]) -> list[Origin]:
    if not files:
        return [Clustered(chosen.dim, bits, chosen.queries, chosen.seed) for bits in chosen.bits]
    origins: list[Origin] = []
    for stored, searched in files:
        sample = np.random.default_rng(chosen.seed).permutation(len(searched.codes))[: chosen.queries]
        origins.append(
            Grown(stored.name, stored.embeddings, stored.codes, searched.embeddings[sample], chosen.dim, chosen.seed)
        )
    return origins


def _describe(results: Results, origin: Grown) -> None:
    """Write how similar the synthetic data are to the real data."""
    if results.has(origin.name, [origin.name]):
        return
    near, grown = origin.differing()
    figures = {
        "share of bits that differ between real neighbours": near,
        "share of bits that differ between an image and one grown from it": grown,
        "share of the given bits that the planes reproduce": origin.reproduced,
        "share of the variance in the embeddings as searched": origin.kept,
    }
    values = {name: Measurement(value) for name, value in figures.items()}
    params = {"bits": len(origin.planes), "numbers": origin.planes.shape[1]}
    results.write([TableRow(results.run.id, "The data", origin.name, origin.name, "codes", params, values)])


def compare(results: Results, chosen: Search, origin: Origin, count: int, uri: str = "") -> None:
    """Measure all methods on one collection and write their records, unless the results already contain them."""
    bits = len(origin.planes)
    dataset = f"{origin.name}, {count:,} codes of {bits} bits"
    if results.has(dataset, chosen.methods):
        suites.show_progress(f"{dataset}: measured before")
        return
    folder = results.work / re.sub(r"\W+", "-", dataset)
    folder.mkdir(parents=True, exist_ok=True)
    comparison = Comparison(results, chosen, dataset, folder, uri)

    def draw(vectors: bool) -> Collection:
        return write(folder / "data", origin, count, vectors)

    results.write(comparison.run(draw, count, *origin.planes.shape))
    results.remove(folder)


class Comparison:
    """A comparison of all methods on one collection."""

    def __init__(self, results: Results, chosen: ComparisonConfig, dataset: str, folder: Path, uri: str) -> None:
        """Prepare a comparison.

        Args:
            results: results file.
            chosen: settings.
            dataset: name of the collection.
            folder: working folder.
            uri: address of a Milvus server, or empty.
        """
        self._id = results.run.id
        self._chosen = chosen
        self._dataset = dataset
        self._folder = folder
        self._uri = uri
        self._skipped: dict[str, str] = {}

    def run(self, draw: Callable[[bool], Collection], count: int, bits: int, dim: int) -> list[Record]:
        """Build and measure all methods that can run, and return the records.

        `draw` creates the collection; its argument says whether vectors are needed.
        """
        names = [name for name in self._chosen.methods if self._possible(name, count, bits, dim)]
        over = {methods.find(name).over for name in names}
        suites.show_progress(f"{self._dataset}: generating data")
        collection = draw("vectors" in over)
        self._truth = Truth(collection, self._chosen.k, "vectors" in over)
        built = {name: made for name in names if (made := self._build(name, collection))}
        settings, peaks = self._measure(built, collection)
        rows = [self._row(name, collection, built[name], settings[name], peaks[name]) for name in settings]
        curves = [curve for name, tried in settings.items() for curve in self._curves(name, collection, tried)]
        skipped = [Skipped(self._id, self._dataset, name, reason) for name, reason in self._skipped.items()]
        return [*curves, *rows, *skipped]

    def after_rounds(self, name: str, worker: Worker, made: dict[str, Any], settings: list[Setting]) -> None:
        """Hook for further measurements of a method."""

    def _possible(self, name: str, count: int, bits: int, dim: int) -> bool:
        method = methods.find(name)
        needed, free = method.bytes_needed(count, bits, dim), free_memory()
        largest = self._chosen.largest.get(name, count)
        reason = methods.missing(method, self._uri)
        if not reason and count > largest:
            reason = f"not built above {largest:,} rows, according to the settings"
        if not reason and needed > free:
            reason = f"needs about {needed / 2**30:.1f} GiB of memory; {free / 2**30:.1f} GiB are free"
        if reason:
            self._skip(name, reason)
        return not reason

    def _skip(self, name: str, reason: str) -> None:
        self._skipped[name] = reason
        suites.show_progress(f"{self._dataset}: {name} skipped: {reason}")

    def _build(self, name: str, collection: Collection) -> dict[str, Any] | None:
        """Build an index, or reuse that of an interrupted run; return its facts, or None if the build failed."""
        folder = self._index(name)
        facts = folder.with_name(f"{folder.name}.json")
        if not facts.exists():
            suites.show_progress(f"{self._dataset}: building {name}")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            arguments = [str(collection.folder), collection.count, collection.bits, collection.dim]
            try:
                with Worker(name, self._chosen.build_threads, self._uri) as worker:
                    made = worker.ask("build", collection=arguments, folder=str(folder))
            except Failed as error:
                self._skip(name, str(error))
                return None
            facts.write_text(json.dumps(made))
        return dict(json.loads(facts.read_text()))

    def _index(self, name: str) -> Path:
        return self._folder / name.replace(" ", "-")

    def _measure(
        self, built: dict[str, Any], collection: Collection
    ) -> tuple[dict[str, list[Setting]], dict[str, float]]:
        """Measure all methods, round by round; return their settings and their peak memory in MiB."""
        settings: dict[str, list[Setting]] = {}
        with ExitStack() as stack:
            workers = {}
            for name in self._in_memory(built):
                try:
                    worker = stack.enter_context(Worker(name, self._chosen.threads, self._uri))
                    settings[name] = self._explore(name, worker, collection)
                    workers[name] = worker
                except Failed as error:
                    self._skip(name, str(error))
            for round in range(self._chosen.repeats):
                suites.show_progress(f"{self._dataset}: round {round + 1} of {self._chosen.repeats}")
                for name, worker in workers.items():
                    for setting in settings[name]:
                        arguments = {"k": self._chosen.k, "value": setting.value}
                        setting.single.append(worker.ask("single", **arguments, count=self._chosen.singles))
                        setting.batch.append(worker.ask("batch", **arguments))
            for name, worker in workers.items():
                self.after_rounds(name, worker, built[name], settings[name])
            peaks = {name: worker.ask("peak") for name, worker in workers.items()}
            for worker in workers.values():
                worker.ask("drop")
        return settings, peaks

    def _in_memory(self, built: dict[str, Any]) -> list[str]:
        """Return the methods whose indexes fit into memory together; skip the others."""
        names, left = [], free_memory()
        for name, made in built.items():
            left -= made["bytes"]
            if left > 0:
                names.append(name)
            else:
                self._skip(name, "does not fit into memory together with the methods before it")
        return names

    def _explore(self, name: str, worker: Worker, collection: Collection) -> list[Setting]:
        """Return the settings to time, with their recall."""
        method = methods.find(name)
        queries = collection.folder / ("query_vectors.npy" if method.over == "vectors" else "query_codes.npy")
        values = worker.ask("load", folder=str(self._index(name)), queries=str(queries))
        found = self._folder / "found.npy"
        settings = []
        for value in values:
            seconds = worker.ask("batch", k=self._chosen.k, value=value, found=str(found))
            ids = np.load(found)
            settings.append(Setting(value, self._truth.recall(ids, method.over), self._truth.of_floats(ids)))
            if settings[-1].recall >= _SUFFICIENT_RECALL or seconds > self._chosen.patience:
                break
        return settings

    def _shown(self, settings: list[Setting]) -> Setting:
        """Return the cheapest setting with the required recall, or else the one with the highest recall."""
        enough = [setting for setting in settings if setting.recall >= self._chosen.recall]
        return enough[0] if enough else max(settings, key=lambda setting: setting.recall)

    def _row(
        self, name: str, collection: Collection, made: dict[str, Any], settings: list[Setting], peak: float
    ) -> TableRow:
        method, shown, k = methods.find(name), self._shown(settings), self._chosen.k
        params: dict[str, Any] = {"bits": collection.bits}
        params |= made["params"] | ({method.search_parameter: shown.value} if method.search_parameter else {})
        values = latencies(shown.single) | {
            "queries/s": spread([len(collection.query_codes) / seconds for seconds in shown.batch]),
            f"recall@{k} by distance": Measurement(shown.recall),
        }
        if shown.floats is not None:
            values[f"recall@{k} of the floats"] = Measurement(shown.floats)
        values["build s"] = Measurement(made["seconds"])
        if not method.server:
            values["bytes per image on disk"] = Measurement(made["bytes"] / collection.count)
            values |= {"MiB to build": Measurement(made["MiB"]), "MiB to search": Measurement(peak)}
        latency, rate = values["ms per query"].value, values["queries/s"].value
        suites.show_progress(f"  {name}: {latency:.3f} ms, {rate:,.0f} queries/s, recall {shown.recall:.3f}")
        return TableRow(self._id, _TABLE, self._dataset, name, method.family, params, values)

    def _curves(self, name: str, collection: Collection, settings: list[Setting]) -> list[Curve]:
        method = methods.find(name)
        params: dict[str, Any] = {"bits": collection.bits}
        if method.search_parameter:
            params[method.search_parameter] = ", ".join(str(setting.value) for setting in settings)
        rates = {
            "Speed against recall, one query at a time": [
                1000 / float(np.median([np.mean(times) for times in setting.single])) for setting in settings
            ],
            "Speed against recall, in a batch": [
                len(collection.query_codes) / float(np.median(setting.batch)) for setting in settings
            ],
        }
        x = f"recall@{self._chosen.k} by distance"
        recalls = [setting.recall for setting in settings]
        return [
            Curve(
                self._id, plot, self._dataset, name, method.family, params, x, "queries/s",
                list(zip(recalls, values, strict=True)),
            )
            for plot, values in rates.items()
        ]  # fmt: skip


class Truth:
    """The exact matches of all queries, to compute the recall of a method."""

    def __init__(self, collection: Collection, k: int, vectors: bool) -> None:
        """Search the codes of a collection exactly and, with `vectors`, its vectors."""
        self._collection = collection
        self._codes = nearest_codes(collection, k)
        self._floats = nearest_vectors(collection, k) if vectors else None

    def recall(self, ids: NDArray[np.int64], over: str) -> float:
        """Return the share of results as near as the k-th exact match.

        Args:
            ids: (q, k) row numbers; NO_ID for a missing result.
            over: the data that were searched, ``codes`` or ``vectors``.
        """
        rows = np.where(ids == NO_ID, 0, ids)
        if over == "vectors":
            assert self._floats is not None
            vectors = self._collection.vectors[rows.ravel()].reshape(*rows.shape, -1)
            distances = -np.einsum("qd,qkd->qk", self._collection.query_vectors, vectors)
            furthest, slack = -self._floats[1][:, -1], _SLACK
        else:
            codes = self._collection.codes[rows.ravel()].reshape(*rows.shape, -1)
            distances = np.bitwise_count(self._collection.query_codes[:, None] ^ codes).sum(axis=2, dtype=np.float32)
            furthest, slack = self._codes[:, -1].astype(np.float32), 0.0
        return share_as_near(np.where(ids == NO_ID, np.inf, distances), furthest, slack)

    def of_floats(self, ids: NDArray[np.int64]) -> float | None:
        """Return the share of the nearest float embeddings that are among `ids` (q, k); None without vectors."""
        if self._floats is None:
            return None
        return float((ids[:, :, None] == self._floats[0][:, None, :]).any(axis=2).mean())
