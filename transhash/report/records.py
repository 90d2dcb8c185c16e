"""Results files: JSON lines with the records of measurements, from which every table and plot is drawn.

The first line of a run describes what ran where (`Run`). Each row of a table (`TableRow`), line of a plot (`Curve`),
skipped measurement (`Skipped`) and example query (`Example`) follows on its own line, written as soon as it is known,
so that an interrupted run resumes after its last complete line. Format: ``docs/results-format.md``.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import ResultsError
from . import check

FAMILIES = ("codes", "float", "peer")

_MAX_FILE = 1 << 25  # bytes; parsed, it needs about twelve times as much memory
_MAX_LINE = 1 << 24
_START = b'{"record": '


@dataclass(frozen=True)
class Run:
    """One run of a measurement, to which other records belong.

    Attributes:
        id: identifies the run in its other records.
        suite: ``accuracy``, ``search``, ``encode``, ``copies``, ``training``, ``scaling``, ``public`` or ``eval``.
        title: one line for readers.
        command: the command that reproduces it.
        date: its start, ISO 8601 with the time zone.
        commit: commit of the source; empty if unknown.
        machine: cpu, cores, memory_gib, gpu, system.
        versions: versions of the packages involved.
        settings: seed, threads, repeats, protocol, tie rule, and settings of the suite.
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
class TableRow:
    """One row of a table: a method on a data set.

    Attributes:
        run: id of its run.
        table: name of its table in the suite.
        dataset: what was searched, such as ``cifar10`` or ``clustered, 1,000,000``.
        method: what is measured, such as ``TransHash`` or ``usearch HNSW``.
        family: ``codes`` for codes of TransHash, ``float`` for float embeddings, ``peer`` for other methods.
        params: parameters that distinguish rows of one method, such as ``{"bits": 64, "nprobe": 8}``.
        values: figures by name, such as ``{"mAP@54000": Measurement(0.74)}``; names include the unit and are the same
            in all suites.
    """

    run: str
    table: str
    dataset: str
    method: str
    family: str
    params: dict[str, Any]
    values: dict[str, "Measurement"]


@dataclass(frozen=True)
class Measurement:
    """A number, or the median of several with their minimum and maximum."""

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
    """A measurement that was skipped, and why: a peer is not installed, or a size does not fit."""

    run: str
    dataset: str
    method: str
    reason: str


@dataclass(frozen=True)
class Picture:
    """An image in an example.

    Attributes:
        name: its path, or another name.
        caption: text below it, such as ``distance 3``.
        right: whether it shares a label with the query; true of the query itself.
        image: a JPEG, PNG or WebP file in base64; empty if there is no image to show.
    """

    name: str
    caption: str
    right: bool = True
    image: str = ""

    @property
    def source(self) -> str:
        """The image as a data URI."""
        return f"data:image/{check.image_kind(self.image)};base64,{self.image}"


@dataclass(frozen=True)
class Example:
    """A query with its matches, nearest first; `title` says why it is shown."""

    run: str
    dataset: str
    method: str
    title: str
    query: Picture
    matches: list[Picture]


Record = Run | TableRow | Curve | Skipped | Example
_KINDS: dict[str, type[Record]] = {
    "run": Run,
    "row": TableRow,
    "curve": Curve,
    "skipped": Skipped,
    "example": Example,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}


def append(path: Path, records: Iterable[Record]) -> None:
    """Append records after the last complete line of a results file, which is created if it is missing.

    Raises ResultsError if `path` is another kind of file.
    """
    documents = ({"record": _NAMES[type(record)], **asdict(record)} for record in records)
    lines = [json.dumps(document, allow_nan=False) + "\n" for document in documents]
    with path.open("ab+") as file:
        _cut(file, path)
        file.write("".join(lines).encode())


def read(path: str | Path) -> Iterator[Record]:
    """Yield the records of a results file, except an incomplete last line.

    The file is not trusted: the type and size of every field are checked, every number must be finite, and every
    record must belong to an earlier run. Raises ResultsError if it is not a results file.
    """
    path = Path(path)
    if path.stat().st_size > _MAX_FILE:
        raise ResultsError(f"{path}: over {_MAX_FILE >> 20} MiB; results files are smaller")
    runs = set()
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE), b""), 1):
            if not line.endswith(b"\n") and len(line) < _MAX_LINE:
                return
            try:
                record = _record(line)
                runs |= {record.id} if isinstance(record, Run) else set()
                if not isinstance(record, Run) and record.run not in runs:
                    raise ValueError(f"run {check.short(record.run)} does not come before it")
            except (RecursionError, ValueError) as error:
                raise ResultsError(f"{path}, line {number}: not a record of a results file: {error}") from None
            yield record


def _cut(file: BinaryIO, path: Path) -> None:
    """Remove an incomplete last line."""
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(len(_START))
    file.seek(max(0, end - _MAX_LINE))
    last = file.read().rpartition(b"\n")[2]
    if any(part[: len(_START)] != _START[: len(part)] for part in (start, last)):
        raise ResultsError(f"{path}: exists and is not a results file; choose another output")
    file.truncate(end - len(last))


def _record(line: bytes) -> Record:
    if len(line) >= _MAX_LINE:
        raise ValueError(f"over {_MAX_LINE >> 20} MiB long")
    document = json.loads(line)
    name = check.instance(dict, document).pop("record", None)
    if not isinstance(name, str) or name not in _KINDS:
        raise ValueError(f"record is {check.short(name)}; expected one of: {', '.join(_KINDS)}")
    return _build(_KINDS[name], document)


def _build(kind: Any, document: Any) -> Any:
    """Build a dataclass from a JSON object with exactly its fields; ValueError names the first wrong one."""
    record = _NAMES.get(kind, kind.__name__.lower())
    known = {entry.name: entry for entry in fields(kind)}
    if unknown := check.instance(dict, document).keys() - known.keys():
        raise ValueError(f"{check.short(min(unknown))} is not a field of {record}")
    for name, entry in known.items():
        if name not in document and entry.default is MISSING and entry.default_factory is MISSING:
            raise ValueError(f"{record} without {name}")
    values = {}
    for name, value in document.items():
        checked: Callable[[Any], Any] = _CHECKS.get(name, check.text)
        try:
            values[name] = checked(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return kind(**values)


def _family(value: Any) -> str:
    if value not in FAMILIES:
        raise ValueError(f"{check.short(value)}; expected one of: {', '.join(FAMILIES)}")
    return str(value)


def _figures(value: Any) -> dict[str, Measurement]:
    return {check.text(name): _build(Measurement, part) for name, part in check.instance(dict, value).items()}


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "family": _family,
    "machine": check.settings,
    "settings": check.settings,
    "versions": check.texts,
    "params": check.params,
    "values": _figures,
    "points": check.points,
    "image": check.image,
    "right": lambda value: check.instance(bool, value),
    "query": lambda value: _build(Picture, value),
    "matches": lambda value: [_build(Picture, picture) for picture in check.instance(list, value)],
    "value": check.number,
    "low": check.optional_number,
    "high": check.optional_number,
}
