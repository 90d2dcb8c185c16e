"""Public sets of binary vectors, and results as ann-benchmarks keeps them, so that anyone can compare."""

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
from .search import Comparison, Setting, Turns
from .sets import PublicSet, unpack, write_answers, write_set
from .worker import Worker

_NAMES = {"TransHash": "transhash", "FAISS": "faiss", "usearch": "usearch", "Milvus": "milvus"}


@click.command("public")
@suites.options("public")
@click.argument("sets", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--answers",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write what every method found, one query at a time, as ann-benchmarks keeps results.",
)
@click.option("--milvus-uri", default="", help="A Milvus server to compare with.")
def command(
    config_path: Path | None, small: bool, output: Path, sets: Sequence[Path], answers: Path | None, milvus_uri: str
) -> None:
    """Measure SETS: HDF5 files of ann-benchmarks with Hamming distance, or of VIBE with binary points.

    Without any, a small clustered one is made.
    """
    chosen = config.load(Turns, "public", small, config_path)
    for name in chosen.methods:
        if methods.find(name).over != "codes":
            raise click.UsageError(f"{name}: searches no codes")
    settings = as_settings(chosen) | {
        "milvus": bool(milvus_uri),
        "answers": bool(answers),
    }
    results = Results.open(output, "public", "Public sets of binary vectors", settings)
    for path in sets or [_made(results.work)]:
        measure(results, chosen, path, answers, milvus_uri)


def _made(folder: Path) -> Path:
    path = folder / "clustered-128-hamming.hdf5"
    write_set(path, write(folder / "drawn", Clustered(128, 128, 200, seed=0), 10_000, vectors=False), 100)
    return path


def measure(results: Results, chosen: Turns, path: Path, answers: Path | None, uri: str) -> None:
    """Measure one set, unless that was done."""
    dataset = path.stem
    truth = f"{dataset}, ground truth"
    if results.has(dataset, chosen.methods) and results.has(truth, [truth]):
        suites.say(f"{dataset}: measured before")
        return
    suites.say(f"{dataset}: reading")
    folder = results.work / re.sub(r"\W+", "-", dataset)
    known = unpack(path, folder / "data")
    if not results.has(truth, [truth]):
        values = {"share of the given neighbours that are the nearest": Measurement(known.true)}
        params = {"bits": known.width, "kind": known.kind}
        results.write([TableRow(results.run.id, "Ground truth", truth, truth, "peer", params, values)])
    comparison = _Kept(results, chosen, known, folder, uri, answers)
    own = known.collection
    results.write(comparison.run(lambda vectors: own, own.count, own.bits, own.dim))
    results.remove(folder)


class _Kept(Comparison):
    """A comparison that also writes what was found."""

    def __init__(
        self, results: Results, chosen: Turns, known: PublicSet, folder: Path, uri: str, answers: Path | None
    ) -> None:
        super().__init__(results, chosen, known.name, folder, uri)
        self._known = known
        self._answers = answers

    def measured(self, name: str, worker: Worker, made: dict[str, Any], settings: list[Setting]) -> None:
        """Ask every query again, one at a time, and keep the fastest of the rounds."""
        if self._answers is None:
            return
        library, kind = name.split(" ", 1)
        algorithm = f"{_NAMES[library]}-{kind.lower().replace(' ', '-')}"
        own, k = self._known.collection, self._chosen.k
        found = self._folder / "answers.npy"
        for setting in settings:
            asked = {"k": k, "value": setting.value, "found": str(found)}
            rounds = [worker.ask("answers", **asked) for _ in range(self._chosen.repeats)]
            ids = np.load(found)
            distances = np.bitwise_count(own.query_codes[:, None] ^ own.codes[np.maximum(ids, 0)]).sum(2, dtype=int)
            parameter = methods.find(name).search_parameter
            arguments = [*made["params"].values(), *([setting.value] if parameter else [])]
            label = re.sub(r"\W+", "_", json.dumps(arguments)).strip("_") or "default"
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
                "name": f"{name}({', '.join(map(str, arguments))})",
                "run_count": len(rounds),
            }
            target = self._answers / self._known.name / f"{k}" / algorithm / f"{label}.hdf5"
            fastest = min(rounds, key=sum)
            write_answers(target, attributes, np.array(fastest), ids, self._known.width, distances)
