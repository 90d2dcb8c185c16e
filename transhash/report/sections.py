"""Group records by run: one section of a report per run."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from .records import Curve, Example, Record, Run, Skipped, TableRow


@dataclass(frozen=True)
class Section:
    """A run with its records, each kind in the order of the file."""

    run: Run
    rows: list[TableRow] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)


def gather(records: Iterable[Record]) -> list[Section]:
    """Group records by their runs. A `Run` that reuses the id of an earlier, different one starts a new section."""
    sections: list[Section] = []
    current: dict[str, Section] = {}
    for record in records:
        match record:
            case Run():
                if record.id not in current or current[record.id].run != record:
                    current[record.id] = Section(record)
                    sections.append(current[record.id])
            case TableRow():
                current[record.run].rows.append(record)
            case Curve():
                current[record.run].curves.append(record)
            case Skipped():
                current[record.run].skipped.append(record)
            case Example():
                current[record.run].examples.append(record)
    return sections
