"""What a measurement leaves: a results file of JSON lines, from which every table and plot is drawn.

The first line of a run says what ran where (`Run`); then every row of a table (`Row`), every line of a plot
(`Curve`) and everything that could not be measured (`Skipped`) is a line of its own, written as soon as it is known,
so that a run that was interrupted goes on behind its last whole line. Format: ``docs/results-format.md``.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ResultsError

_MAX_LINE = 1 << 24


@dataclass(frozen=True)
class Run:
    """Where rows come from.

    Attributes:
        id: what the lines of this run carry.
        suite: ``accuracy``, ``search``, ``encode``, ``scaling``, ``public`` or ``eval``.
        title: one line for a person.
        command: what repeats it.
        date: of its start, ISO 8601 with the time zone.
        commit: of the source; empty if unknown.
        machine: cpu, cores, memory_gib, gpu, system.
        versions: of everything that takes part.
        settings: seed, threads, repeats, protocol, tie rule and the suite's own.
    """

    id: str
    suite: str
    title: str
    command: str
    date: str
    commit: str = ""
    machine: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One row of a table: a method on a data set.

    Attributes:
        run: id of its run.
        table: which table of the suite it stands in.
        dataset: what was searched, such as ``cifar10`` or ``clustered, 1,000,000``.
        method: who is measured, such as ``TransHash`` or ``usearch HNSW``.
        family: ``codes`` for what TransHash makes and searches, ``float`` for float embeddings, ``peer`` for others.
        params: what tells rows of one method apart, such as ``{"bits": 64, "nprobe": 8}``.
        values: figures by name, such as ``{"mAP@54000": Figure(0.74), "ms a query": Figure(0.38, 0.36, 0.41)}``;
            a name says its unit, and one figure has one name in all suites.
    """

    run: str
    table: str
    dataset: str
    method: str
    family: str
    params: dict[str, Any]
    values: dict[str, "Figure"]


@dataclass(frozen=True)
class Figure:
    """A number, or the median of several with the lowest and highest of them."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Curve:
    """A line of a plot: points (x, y) of one method on one data set; `x` and `y` name the axes."""

    run: str
    plot: str
    dataset: str
    method: str
    family: str
    params: dict[str, Any]
    x: str
    y: str
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Skipped:
    """What was not measured, and why: a peer that is not installed, a size that does not fit."""

    run: str
    dataset: str
    method: str
    reason: str


Record = Run | Row | Curve | Skipped
_KINDS: dict[str, type[Record]] = {"run": Run, "row": Row, "curve": Curve, "skipped": Skipped}


def append(path: Path, records: Iterable[Record]) -> None:
    """Write records behind those of a results file, which is made if it is not there."""
    lines = [json.dumps({"record": type(record).__name__.lower(), **asdict(record)}) + "\n" for record in records]
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(lines))


def read(path: Path) -> Iterator[Record]:
    """Yield the records of a results file; a last line that was cut short is left out.

    Raises ResultsError for a file that is none.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE), ""), 1):
            if not line.endswith("\n"):
                return
            try:
                document = json.loads(line)
                yield _record(_KINDS[document.pop("record")], document)
            except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
                raise ResultsError(f"{path}, line {number}: no record of a results file ({error!r})") from None


def _record(kind: type[Record], document: dict[str, Any]) -> Record:
    if kind is Row:
        document["values"] = {name: Figure(**figure) for name, figure in document["values"].items()}
    if kind is Curve:
        document["points"] = [(float(x), float(y)) for x, y in document["points"]]
    return kind(**document)
