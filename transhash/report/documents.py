"""Tables of a results file in documents by hand: between two marks, drawn again by a command.

<!-- results: TABLE -->                 or, for some of its columns, <!-- results: TABLE: mAP@all; P@10 -->
| method | ...
<!-- end of results -->
"""

import re
from collections.abc import Sequence

from ..errors import ResultsError
from .sections import Section
from .tables import Table, tables
from .text import markdown_table

_BLOCK = re.compile(
    r"(<!-- results: (?P<name>[^:\n]+?)(?:: (?P<columns>[^\n]+?))? -->\n).*?(<!-- end of results -->)", re.S
)


def redrawn(text: str, sections: Sequence[Section]) -> str:
    """Return a document with its marked tables as the results say.

    Raises ResultsError for a mark that names a table or figure that the results lack.
    """
    known = {table.title: table for section in sections for table in tables(section)}
    return _BLOCK.sub(lambda found: f"{found[1]}\n{_drawn(found, known)}\n\n{found[4]}", text)


def names(text: str) -> list[str]:
    """Return the tables that a document asks for."""
    return [found["name"] for found in _BLOCK.finditer(text)]


def _drawn(found: re.Match[str], known: dict[str, Table]) -> str:
    table = known.get(found["name"])
    if not table:
        raise ResultsError(f"no table {found['name']!r} in the results; there are: {', '.join(known)}")
    columns = found["columns"].split("; ") if found["columns"] else []
    if missing := [name for name in columns if name not in table.columns]:
        raise ResultsError(f"no figure {missing[0]!r} in {table.title}; there are: {', '.join(table.columns)}")
    return "\n".join(markdown_table(table, columns))
