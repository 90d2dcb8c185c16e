"""The records of a run, together: what a part of a report is drawn from."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from .records import Curve, Example, Record, Row, Run, Skipped, read


@dataclass(frozen=True)
class Section:
    """A run with everything that came from it, each kind in the order of the file."""

    run: Run
    rows: list[Row] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)


def gather(records: Iterable[Record]) -> list[Section]:
    """Sort records by their runs; of a run that was begun again, the first beginning counts."""
    sections: dict[str, Section] = {}
    for record in records:
        match record:
            case Run():
                sections.setdefault(record.id, Section(record))
            case Row():
                sections[record.run].rows.append(record)
            case Curve():
                sections[record.run].curves.append(record)
            case Skipped():
                sections[record.run].skipped.append(record)
            case Example():
                sections[record.run].examples.append(record)
    return list(sections.values())


def load(paths: Iterable[Path]) -> list[Section]:
    """Return the runs of results files. Raises ResultsError for a file that is none."""
    return [section for path in paths for section in gather(read(path))]
