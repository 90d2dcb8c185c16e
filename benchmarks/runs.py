"""The results file of a suite, which resumes interrupted runs and rejects rows that are not comparable."""

import hashlib
import json
import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from transhash.errors import ResultsError
from transhash.report import figures
from transhash.report.records import Curve, Example, Record, Run, Skipped, TableRow, append, read
from transhash.system import files

from . import machine


class Results:
    """The records of one run in a results file.

    All records of a run share source, machine, versions and settings. An interrupted run resumes at the first
    incomplete data set, which is measured again as a whole, so that all of its methods are measured side by side.
    """

    def __init__(self, path: Path, run: Run) -> None:
        """Use `Results.open` instead."""
        self.path = path
        self.run = run

    @classmethod
    def open(cls, path: Path, suite: str, title: str, settings: dict[str, Any]) -> "Results":
        """Resume the run with these settings, or start one.

        Raises ResultsError if the file holds rows of another commit, machine or set of versions.
        """
        facts: dict[str, Any] = {
            "commit": machine.commit(),
            "machine": machine.machine(),
            "versions": machine.versions(),
        }
        key = json.dumps([suite, settings, facts], sort_keys=True)
        name = hashlib.sha256(key.encode()).hexdigest()[:12]
        known = [record for record in read(path) if isinstance(record, Run)] if path.exists() else []
        for other in known:
            _check_alike(path, other, facts)
        results = cls(
            path,
            Run(
                name, suite, title, shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
                datetime.now(UTC).isoformat(timespec="seconds"), settings=settings, **facts,
            ),
        )  # fmt: skip
        if name not in {other.id for other in known}:
            path.parent.mkdir(parents=True, exist_ok=True)
            results.write([results.run])
        return results

    @property
    def work(self) -> Path:
        """The absolute path of the folder for temporary files of the run, next to the results file."""
        return self.path.absolute().with_name(f"{self.path.name}.work") / self.run.id

    def records(self, dataset: str) -> list[TableRow | Curve | Skipped]:
        """Return the records of this run on a data set."""
        records = (record for record in read(self.path) if not isinstance(record, Run | Example))
        return [record for record in records if (record.run, record.dataset) == (self.run.id, dataset)]

    def has(self, dataset: str, methods: Iterable[str]) -> bool:
        """Return whether every method was measured or skipped on a data set.

        Otherwise, the records of the data set are removed from the file.
        """
        found = {record.method for record in self.records(dataset) if isinstance(record, TableRow | Skipped)}
        if found >= set(methods):
            return True
        if self.records(dataset):
            self._forget(dataset)
        return False

    def has_row(self, dataset: str, label: str) -> bool:
        """Return whether the method with this label was measured or skipped on a data set."""
        return any(
            label == (record.method if isinstance(record, Skipped) else figures.label(record.method, record.params))
            for record in self.records(dataset)
            if isinstance(record, TableRow | Skipped)
        )

    def write(self, records: Sequence[Record]) -> None:
        """Append records, with rows and skipped methods last, because `has` looks for these."""
        append(self.path, sorted(records, key=lambda record: isinstance(record, TableRow | Skipped)))

    def remove(self, folder: Path) -> None:
        """Remove a folder inside `work`, and its parents if they are then empty."""
        shutil.rmtree(folder)
        with suppress(OSError):
            self.work.rmdir()
            self.work.parent.rmdir()

    def _forget(self, dataset: str) -> None:
        kept = [
            record
            for record in read(self.path)
            if isinstance(record, Run) or (record.run, record.dataset) != (self.run.id, dataset)
        ]
        with files.replacing(self.path) as temporary:
            append(temporary, kept)


def _check_alike(path: Path, other: Run, facts: dict[str, Any]) -> None:
    mine = {**facts["machine"], **facts["versions"], "commit": facts["commit"]}
    theirs = {**other.machine, **other.versions, "commit": other.commit}
    for name in sorted(mine.keys() | theirs.keys()):
        if mine.get(name) != theirs.get(name):
            raise ResultsError(
                f"{path}: its rows were measured with {name} {theirs.get(name, 'missing')}, "
                f"now it is {mine.get(name, 'missing')}; choose another file with -o (a report can combine files)"
            )


def as_settings(config: Any, without: Sequence[str] = ()) -> dict[str, Any]:
    """Return the fields of a config as JSON values, except those in `without`, which only extend the measurements."""
    fields = {name: value for name, value in asdict(config).items() if name not in without}
    return dict(json.loads(json.dumps(fields)))
