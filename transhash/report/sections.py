"""The records of a run, together: what a part of a report is drawn from."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from .records import Curve, Example, Record, Row, Run, Skipped


@dataclass(frozen=True)
class Section:
    """A run with everything that came from it, each kind in the order of the file."""

    run: Run
    rows: list[Row] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)


def gather(records: Iterable[Record]) -> list[Section]:
    """Sort records by their runs. A run that says something else under the id of an earlier one is another run."""
    sections: list[Section] = []
    current: dict[str, Section] = {}
    for record in records:
        match record:
            case Run():
                if record.id not in current or current[record.id].run != record:
                    current[record.id] = Section(record)
                    sections.append(current[record.id])
            case Row():
                current[record.run].rows.append(record)
            case Curve():
                current[record.run].curves.append(record)
            case Skipped():
                current[record.run].skipped.append(record)
            case Example():
                current[record.run].examples.append(record)
    return sections
