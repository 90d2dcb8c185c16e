"""Train hashers and soups of several code lengths with `th`, under a protocol, and evaluate their codes."""

from dataclasses import dataclass
from pathlib import Path

import click

from transhash import hamming, read_codes
from transhash.datasets import protocols
from transhash.evaluation import Levels
from transhash.evaluation.relevance import common_labels
from transhash.report import figures
from transhash.report.records import Measurement, TableRow
from transhash.system import files

from . import config, digits, suites
from .commands import th
from .figures import spread
from .retrieval import Retrieval
from .runs import Results, as_settings


@dataclass(frozen=True)
class Training:
    """The settings of the suite.

    Attributes:
        protocol: name of the protocol that the lists follow.
        bits: code lengths.
        options: options of `th train` for every run.
        rows: further options of each run, by method name; several runs are averaged into a soup.
        encode: options of `th encode`.
        seeds: seeds to repeat every row with; the median of several is reported, with the lowest and the highest.
    """

    protocol: str
    bits: list[int]
    options: list[str]
    rows: dict[str, list[list[str]]]
    encode: list[str]
    seeds: list[int]


@dataclass(frozen=True)
class Data:
    """Images and their split.

    Attributes:
        images: folder of the images.
        lists: list files of the parts: query, training and database.
        name: name of the data set in reports.
        at: R of mAP@R; None for the whole database.
    """

    images: Path
    lists: dict[str, Path]
    name: str
    at: int | None


@click.command("training")
@suites.options("training")
@click.argument("images", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.argument("lists", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False)
@click.option("--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="See th train.")
@click.option("--workers", type=click.IntRange(min=0), default=0, show_default=True, help="See th train.")
def command(
    config_path: Path | None,
    small: bool,
    output: Path,
    images: Path | None,
    lists: Path | None,
    weights: Path | None,
    workers: int,
) -> None:
    """Train hashers with `th train` and `th soup` at every code length, and measure mAP@R and P@N of their codes.

    LISTS is a folder that `th protocol write` made or `th protocol check` accepts. Without IMAGES and LISTS, the
    digits of scikit-learn are used. Hashers are those of the final epoch; metrics are exact over all orders of ties.
    Hashers and codes stay in a folder next to the results file.
    """
    chosen = config.load(Training, "training", small, config_path)
    if (images is None) != (lists is None):
        raise click.UsageError("give IMAGES and LISTS, or neither")
    data = _listed(images, lists, chosen.protocol) if images and lists else _digits(output)
    settings = as_settings(chosen) | {
        "data": data.name,
        "ties": "expected over all orders",
        "epochs": "final",
        "weights": files.sha256(weights)[:12] if weights else "",
    }
    results = Results.open(output, "training", "Hashers trained under one protocol", settings)
    start = ["--workers", str(workers), *(["--weights", str(weights)] if weights else [])]
    for bits in chosen.bits:
        for number, (method, runs) in enumerate(chosen.rows.items()):
            label = figures.label(method, {"bits": bits})
            if results.has_row(data.name, label):
                continue
            suites.show_progress(label)
            options = [["--bits", str(bits), *chosen.options, *run, *start] for run in runs]
            repeated = [
                _values(data, results.work / f"{bits} bits, {number}, seed {seed}", seed, options, chosen.encode)
                for seed in chosen.seeds
            ]
            values = {"bytes per image": Measurement(bits / 8), **_medians(repeated)}
            results.write([TableRow(results.run.id, "Training", data.name, method, "codes", {"bits": bits}, values)])
            suites.show_progress(f"{label}: {', '.join(f'{name} {one.value:.4f}' for name, one in values.items())}")


def _values(data: Data, folder: Path, seed: int, runs: list[list[str]], encode: list[str]) -> dict[str, Measurement]:
    """Train a row with one seed, which options of a run override, and return its metrics."""
    folder.mkdir(parents=True, exist_ok=True)
    hasher = trained(data, folder, [["--seed", str(seed), *run] for run in runs])
    return _retrieval(data, folder, hasher, encode).figures()


def _medians(repeated: list[dict[str, Measurement]]) -> dict[str, Measurement]:
    """Return the medians over several seeds with their ranges, or the only measurements."""
    if len(repeated) == 1:
        return repeated[0]
    return {name: spread([one[name].value for one in repeated]) for name in repeated[0]}


def trained(data: Data, folder: Path, runs: list[list[str]]) -> Path:
    """Return the hasher of a single run, or the soup of several; files that already exist are reused."""
    hashers = [folder / f"{number}.safetensors" for number in range(len(runs))]
    for hasher, options in zip(hashers, runs, strict=True):
        if not hasher.exists():
            th("train", data.images, "--list", data.lists["training"], "-o", hasher, *options, show=True)
    if len(hashers) == 1:
        return hashers[0]
    soup = folder / "soup.safetensors"
    if not soup.exists():
        th("soup", *hashers, "-o", soup)
    return soup


def _retrieval(data: Data, folder: Path, hasher: Path, options: list[str]) -> Retrieval:
    """Encode queries and database, and evaluate the ranking of every query."""
    codes = {}
    for part in ("query", "database"):
        path = folder / f"{part}.h5"
        if not path.exists():
            th("encode", data.images, "--list", data.lists[part], "-o", path, "--model", hasher, *options, show=True)
        codes[part] = read_codes(path)
    queries, database = codes["query"], codes["database"]
    retrieval = Retrieval(data.at, hamming=True)
    labels = common_labels(queries.records, database.records)
    retrieval.add(Levels(*hamming.counts(queries.packed, database.packed, *labels)))
    return retrieval


def _listed(images: Path, lists: Path, name: str) -> Data:
    """Return the split in a folder of lists. Raises SourceError if it does not follow the protocol."""
    protocol = protocols.find(name)
    found = protocols.check(protocol, lists)
    return Data(images, protocols.lists(lists), f"{name}, split {found.identity}", protocol.at)


def _digits(output: Path) -> Data:
    """Write the digits of scikit-learn and their lists next to the results file."""
    folder = output.with_name(f"{output.name}.work") / "digits"
    lists = digits.written(folder)
    return Data(folder / "images", {"query": lists["queries"], **lists}, "digits", None)
