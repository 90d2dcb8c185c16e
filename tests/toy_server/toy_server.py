"""A server backend in one file: a SQLite table whose rows the core searches. See docs/plugins.md."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from transhash.backends import check_params
from transhash.codes import Codes, ModelRef, read_codes, texts
from transhash.codes.models import check_same_model
from transhash.errors import BackendError, MismatchError
from transhash.index import comparing, contract, filters, kinds, scanning, selection, stored
from transhash.index.contract import CodesInput, Params
from transhash.index.filters import Filter
from transhash.index.rows import Added, Changes, Row
from transhash.index.stored import StoredRows
from transhash.results import Nearest, Within
from transhash.system.progress import Progress, silent

_TABLES = """
CREATE TABLE about (document TEXT NOT NULL);
CREATE TABLE images (id INTEGER PRIMARY KEY, code BLOB NOT NULL, path TEXT NOT NULL, labels TEXT NOT NULL);
"""


class ToyServer(contract.Server):
    """A collection of images in a SQLite file: ``toy://FILE``."""

    types: ClassVar[tuple[str, ...]] = ("flat",)

    def __init__(self, location: str) -> None:
        self._location, self._file = location, location.partition("://")[2]
        if not Path(self._file).exists():
            raise BackendError(f"{location}: no such collection")
        self.model = ModelRef(**self._about()["model"])

    @classmethod
    def open(cls, location: str) -> Self:
        return cls(location)

    @classmethod
    def build(
        cls,
        codes: Path,
        location: str,
        *,
        type: str | None = None,
        params: Params | None = None,
        progress: Progress = silent,
    ) -> Self:
        check_params(params, (), "type flat of the toy")
        file, given = location.partition("://")[2], read_codes(codes)
        if Path(file).exists():
            raise BackendError(f"{location}: exists already")
        with closing(sqlite3.connect(file)) as database, database:
            database.executescript(_TABLES)
            about = {"model": vars(given.model), "root": texts.text(given.records.root), "next_id": 0}
            database.execute("INSERT INTO about VALUES (?)", [json.dumps(about)])
        made = cls(location)
        made._change(given, np.empty(0, np.int64))
        return made

    @property
    def location(self) -> str:
        return self._location

    def __len__(self) -> int:
        return int(self._rows("SELECT count(*) FROM images")[0][0])

    def snapshot(self) -> tuple[NDArray[np.int64], Codes]:
        rows = self._rows("SELECT id, code, path, labels FROM images ORDER BY id")
        packed = np.frombuffer(b"".join(row[1] for row in rows), np.uint8).reshape(len(rows), -1)
        paths, labels = [row[2] for row in rows], [json.loads(row[3]) for row in rows]
        root = texts.path(self._about()["root"])
        ids = np.array([row[0] for row in rows], np.int64)
        return ids, stored.codes(packed, paths, labels, self.model, root)

    def rows(self, ids: Sequence[int] | NDArray[np.int64]) -> list[Row]:
        there, codes = self.snapshot()
        wanted = filters.checked_ids(ids)
        selection.check_ids(wanted.tolist(), there.tolist())
        places = np.searchsorted(there, wanted).tolist()
        return [Row(codes.records.path(place), codes.records.names(place)) for place in places]

    def matching(self, where: Filter | Sequence[Filter], limit: int = 20) -> tuple[int, list[str]]:
        ids, codes = self.snapshot()
        passed = filters.any_of(StoredRows(ids, codes.records), contract.filters_of(where))
        return int(passed.sum()), [codes.records.path(row) for row in np.flatnonzero(passed)[:limit].tolist()]

    def _nearest(self, packed: NDArray[np.uint8], k: int, params: Params, where: Filter | None) -> Nearest:
        return scanning.nearest([self._allowed(params, where)], packed, k)

    def _within(self, packed: NDArray[np.uint8], radius: int, params: Params, where: Filter | None) -> Within:
        return scanning.within([self._allowed(params, where)], packed, min(radius, self.model.bits))

    def add(
        self, codes: CodesInput | Sequence[CodesInput], *, replace: bool = False, progress: Progress = silent
    ) -> Added:
        done = [self._add(_read(part), replace) for part in kinds.codes_inputs(codes)]
        return Added(sum(one.rows for one in done), sum(one.replaced for one in done))

    def remove(self, where: Filter | Sequence[Filter]) -> int:
        ids, codes = self.snapshot()
        gone = filters.any_of(StoredRows(ids, codes.records), contract.filters_of(where))
        if gone.all():
            raise selection.none_left(len(ids), "delete the file")
        self._change(codes.take(slice(0, 0)), ids[gone])
        return int(gone.sum())

    def sync(self, codes: CodesInput, *, progress: Progress = silent) -> Changes:
        wanted, (ids, here) = _read(codes), self.snapshot()
        check_same_model(wanted.model, self.model, "codes", "the collection")
        keep, new, changes = comparing.difference(here, wanted)
        self._change(new, ids[~keep])
        return changes

    def verify(self, *, progress: Progress = silent) -> Iterator[str]:
        yield from (fault for (fault,) in self._rows("PRAGMA integrity_check") if fault != "ok")

    def info(self) -> dict[str, int | str]:
        model, about = self.model, self._about()
        found = {"backend": "toy", "type": "flat", "codes": len(self), "bits": model.bits, "model": model.name}
        return {**found, "digest": model.digest, "next_id": about["next_id"]}

    def _add(self, codes: Codes, replace: bool) -> Added:
        check_same_model(codes.model, self.model, "codes", "the collection")
        ids, here = self.snapshot()
        again = comparing.with_paths_of(here.records, codes.records)
        if again.any() and not replace:
            raise selection.already_there(here.records.path(int(again.argmax())), int(again.sum()))
        self._change(codes, ids[again])
        return Added(len(codes), int(again.sum()))

    def _change(self, new: Codes, gone: NDArray[np.int64]) -> None:
        """Remove and add rows in one transaction."""
        about = self._about()
        ids = range(about["next_id"], about["next_id"] + len(new))
        labels = [json.dumps([texts.label(name) for name in new.records.names(row)]) for row in range(len(new))]
        rows = zip(ids, map(bytes, new.packed), map(texts.text, new.records.full_paths()), labels, strict=True)
        if len(new) and texts.text(new.records.root) != about["root"]:
            about["root"] = ""
        with closing(sqlite3.connect(self._file)) as database, database:
            database.executemany("DELETE FROM images WHERE id = ?", ((id,) for id in gone.tolist()))
            database.executemany("INSERT INTO images VALUES (?, ?, ?, ?)", rows)
            database.execute("UPDATE about SET document = ?", [json.dumps({**about, "next_id": ids.stop})])

    def _allowed(self, params: Params, where: Filter | None) -> scanning.Block:
        check_params(params, (), "searching the toy")
        ids, codes = self.snapshot()
        passed = filters.mask(StoredRows(ids, codes.records), where) if where else None
        kept = slice(None) if passed is None else passed
        return ids[kept], codes.packed[kept]

    def _about(self) -> dict[str, Any]:
        return json.loads(self._rows("SELECT document FROM about")[0][0])

    def _rows(self, statement: str) -> list[Any]:
        with closing(sqlite3.connect(self._file)) as database:
            return database.execute(statement).fetchall()


def _read(codes: CodesInput) -> Codes:
    found = kinds.in_memory(kinds.codes_input(codes))
    if not len(found):
        raise MismatchError("no codes")
    return found
