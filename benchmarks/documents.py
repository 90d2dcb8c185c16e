"""Tables of a results file inside hand-written documents, between two comments; a command regenerates them.

    <!-- results: TABLE -->                 or, for selected columns, <!-- results: TABLE: mAP@all; P@10 -->
    | method | ...
    <!-- end of results -->

If several runs have a table of that name, write SUITE/TABLE.
"""

import re
from collections.abc import Sequence

from transhash.errors import ResultsError
from transhash.report.sections import Section
from transhash.report.tables import ResultsTable, tables
from transhash.report.text import markdown_table

_BLOCK = re.compile(
    r"(<!-- results: (?P<name>[^:\n]+?)(?:: (?P<columns>[^\n]+?))? -->\n).*?(<!-- end of results -->)", re.S
)


def redrawn(text: str, sections: Sequence[Section]) -> str:
    """Return a document with its marked tables regenerated from the results.

    Raises ResultsError if a comment names a table or column that the results do not have.
    """
    known: dict[str, list[ResultsTable]] = {}
    for section in sections:
        for table in tables(section):
            for name in (table.title, f"{section.run.suite}/{table.title}"):
                known.setdefault(name, []).append(table)
    return _BLOCK.sub(lambda found: f"{found[1]}\n{_drawn(found, known)}\n\n{found[4]}", text)


def names(text: str) -> list[str]:
    """Return the names of the tables in a document."""
    return [found["name"] for found in _BLOCK.finditer(text)]


def _drawn(found: re.Match[str], known: dict[str, list[ResultsTable]]) -> str:
    name = found["name"]
    if name not in known:
        raise ResultsError(f"no table {name!r} in the results; available: {', '.join(known)}")
    if len(known[name]) > 1:
        raise ResultsError(f"{len(known[name])} tables {name!r} in the results; available: {', '.join(known)}")
    (table,) = known[name]
    columns = found["columns"].split("; ") if found["columns"] else []
    if missing := [name for name in columns if name not in table.columns]:
        raise ResultsError(f"no figure {missing[0]!r} in {table.title}; available: {', '.join(table.columns)}")
    return "\n".join(markdown_table(table, columns))
