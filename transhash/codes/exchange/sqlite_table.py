"""SQLite: a table of images with codes as BLOBs, as sqlite-vec and other extensions read them."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from ...errors import CodesError, one_line
from ...system import files
from ...system.progress import Progress
from .. import texts
from ..reader import CodesFile
from ..records import nullable

_ID = 0x54524853  # "TRHS": the application id of SQLite's header
_TABLES = """
CREATE TABLE images (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL, labels TEXT NOT NULL, size INTEGER, mtime INTEGER, code BLOB NOT NULL
);
CREATE TABLE model (name TEXT NOT NULL, digest TEXT NOT NULL, bits INTEGER NOT NULL, root TEXT NOT NULL);
"""


def write(file: CodesFile, target: Path, on_rows: Progress) -> None:
    """Write the tables images (id, path, labels as JSON, size, mtime, code) and model; ids are positions in the file.

    Raises CodesError if SQLite cannot write it.
    """
    model = file.header.model
    with files.replacing(target) as temporary:
        try:
            with closing(sqlite3.connect(temporary)) as database, database:
                database.execute("PRAGMA journal_mode = OFF")  # the file is renamed once it is complete
                database.execute(f"PRAGMA application_id = {_ID}")
                database.executescript(_TABLES)
                origin = [texts.label(model.name), model.digest, model.bits, texts.text(file.header.root)]
                database.execute("INSERT INTO model VALUES (?, ?, ?, ?)", origin)
                for start, block in file.blocks(embeddings=False):
                    records = block.records
                    labels = [json.dumps(records.names(row), ensure_ascii=False) for row in range(len(block))]
                    stats = [nullable(values, len(block)) for values in (records.sizes, records.mtimes)]
                    paths = [texts.text(path) for path in records.paths]
                    codes = [code.tobytes() for code in block.packed]
                    rows = zip(range(start, start + len(block)), paths, labels, *stats, codes, strict=True)
                    database.executemany("INSERT INTO images VALUES (?, ?, ?, ?, ?, ?)", rows)
                    on_rows(start + len(block), len(file))
        except sqlite3.Error as error:
            raise CodesError(f"{target}: SQLite cannot write it ({one_line(error)})") from None


def is_own(path: Path) -> bool:
    """Return whether a file is a database that `write` wrote."""
    with path.open("rb") as file:
        head = file.read(72)
    return head.startswith(b"SQLite format 3\0") and int.from_bytes(head[68:72], "big") == _ID
