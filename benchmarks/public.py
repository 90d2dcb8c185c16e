"""Measure search on public sets of binary vectors, and write results in the format of ann-benchmarks."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from transhash.report.records import Measurement, TableRow

from . import config, methods, suites
from .collection import Clustered, write
from .runs import Results, as_settings
from .search import Comparison, ComparisonConfig, Setting
from .sets import PublicSet, unpack, write_answers, write_set
from .worker import Worker

_NAMES = {"TransHash": "transhash", "FAISS": "faiss", "usearch": "usearch", "NumKong": "numkong", "Milvus": "milvus"}


@click.command("public")
@suites.options("public")
@click.argument("sets", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--answers",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write the results of every method, one query at a time, in the format of ann-benchmarks.",
)
@click.option("--milvus-uri", default="", help="Milvus server to compare with.")
def command(
    config_path: Path | None, small: bool, output: Path, sets: Sequence[Path], answers: Path | None, milvus_uri: str
) -> None:
    """Measure search on SETS: HDF5 files of ann-benchmarks (Hamming distance) or VIBE (binary points).

    Without SETS, a small clustered set is generated.
    """
    chosen = config.load(ComparisonConfig, "public", small, config_path)
    for name in chosen.methods:
        if methods.find(name).over != "codes":
            raise click.UsageError(f"{name}: does not search codes")
    settings = as_settings(chosen) | {
        "milvus": bool(milvus_uri),
        "answers": bool(answers),
    }
    results = Results.open(output, "public", "Public sets of binary vectors", settings)
    for path in sets or [_generated(results.work)]:
        measure(results, chosen, path, answers, milvus_uri)


def _generated(folder: Path) -> Path:
    path = folder / "clustered-128-hamming.hdf5"
    write_set(path, write(folder / "drawn", Clustered(128, 128, 200, seed=0), 10_000, vectors=False), 100)
    return path


def measure(results: Results, chosen: ComparisonConfig, path: Path, answers: Path | None, uri: str) -> None:
    """Measure one set, unless the results already contain it."""
    dataset = path.stem
    truth = f"{dataset}, ground truth"
    if results.has(dataset, chosen.methods) and results.has(truth, [truth]):
        suites.show_progress(f"{dataset}: measured before")
        return
    suites.show_progress(f"{dataset}: reading")
    folder = results.work / re.sub(r"\W+", "-", dataset)
    known = unpack(path, folder / "data")
    if not results.has(truth, [truth]):
        values = {"share of the given neighbours that are the nearest": Measurement(known.true)}
        params = {"bits": known.width, "kind": known.kind}
        results.write([TableRow(results.run.id, "Ground truth", truth, truth, "peer", params, values)])
    comparison = _AnswerWriter(results, chosen, known, folder, uri, answers)
    collection = known.collection
    results.write(comparison.run(lambda vectors: collection, collection.count, collection.bits, collection.dim))
    results.remove(folder)


class _AnswerWriter(Comparison):
    """A comparison that also writes the results of every query."""

    def __init__(
        self,
        results: Results,
        chosen: ComparisonConfig,
        known: PublicSet,
        folder: Path,
        uri: str,
        answers: Path | None,
    ) -> None:
        super().__init__(results, chosen, known.name, folder, uri)
        self._known = known
        self._answers = answers

    def after_rounds(self, name: str, worker: Worker, made: dict[str, Any], settings: list[Setting]) -> None:
        """Search every query again, one at a time; write the ids, and the times of the fastest round."""
        if self._answers is None:
            return
        library, kind = name.split(" ", 1)
        algorithm = f"{_NAMES[library]}-{kind.lower().replace(' ', '-')}"
        collection, k = self._known.collection, self._chosen.k
        found = self._folder / "answers.npy"
        for setting in settings:
            arguments = {"k": k, "value": setting.value, "found": str(found)}
            rounds = [worker.ask("answers", **arguments) for _ in range(self._chosen.repeats)]
            ids = np.load(found)
            differing = collection.query_codes[:, None] ^ collection.codes[np.maximum(ids, 0)]
            distances = np.bitwise_count(differing).sum(2, dtype=int)
            parameter = methods.find(name).search_parameter
            values = [*made["params"].values(), *([setting.value] if parameter else [])]
            label = re.sub(r"\W+", "_", json.dumps(values)).strip("_") or "default"
            attributes = {
                "algo": algorithm,
                "batch_mode": False,
                "best_search_time": float(min(np.mean(times) for times in rounds)),
                "build_time": made["seconds"],
                "candidates": float((ids >= 0).sum() / len(ids)),
                "count": k,
                "dataset": self._known.name,
                "distance": "hamming",
                "expect_extra": False,
                "index_size": made["bytes"] / 1024,
                "name": f"{name}({', '.join(map(str, values))})",
                "run_count": len(rounds),
            }
            target = self._answers / self._known.name / f"{k}" / algorithm / f"{label}.hdf5"
            fastest = min(rounds, key=sum)
            write_answers(target, attributes, np.array(fastest), ids, self._known.width, distances)
