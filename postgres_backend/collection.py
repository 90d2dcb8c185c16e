"""The entry point: a collection in PostgreSQL, opened, built, searched; `changing` changes it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from transhash.backends import check_params
from transhash.codes import Codes, texts
from transhash.errors import BackendError
from transhash.index import contract, kinds, selection, stored
from transhash.index.contract import CodesInput, Params
from transhash.index.filters import Filter, checked_ids
from transhash.index.rows import Added, Changes, Row
from transhash.results import Nearest, Within
from transhash.system.progress import Progress, silent

from . import changing, schema, selecting
from .location import Location
from .schema import SEARCH, Contents, Tables
from .searching import Searcher
from .selecting import Condition
from .server import Cursor, Server, streamed


class PostgresCollection(contract.Server):
    """Images in a table of PostgreSQL, which stores everything that is known about them.

    Types are ``flat`` (exact, without an index), ``ivf`` (ivfflat) and ``hnsw`` of pgvector.
    """

    types: ClassVar[tuple[str, ...]] = tuple(SEARCH)

    def __init__(self, server: Server, tables: Tables, contents: Contents) -> None:
        """Take a collection's server, tables and contents; use `open` or `build` instead."""
        self._server = server
        self._tables = tables
        self.model = contents.model
        self.reason = contents.exact

    @classmethod
    def open(cls, location: str) -> Self:
        """Open a collection that `build` made.

        Args:
            location: ``postgresql://[USER@]HOST[:PORT]/DATABASE/NAME``, with libpq's parameters after a ``?``.

        Credentials are those that libpq finds: PGPASSWORD, ``~/.pgpass``, a service file, a certificate.

        Raises BackendError if it is not there, or the server does not answer.
        """
        server = Server(Location.parse(location))
        with server.transaction() as cursor:
            tables = schema.find(cursor, server.location)
            contents = schema.read(cursor, tables, server.location) if tables else None
        if tables is None or contents is None:
            raise BackendError(f"{location}: no such collection; make one with: th index build CODES -o LOCATION")
        return cls(server, tables, contents)

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
        """Build a collection of a codes file's rows, with ids from 0, in one transaction.

        An interrupted call leaves nothing behind. A collection that was built of the same rows is returned.

        Raises BackendError if another collection or table has that name; it is not changed.
        """
        server = Server(Location.parse(location))
        with kinds.open_rows(codes) as file:
            header = file.header
            wanted = Contents(
                header.model, *schema.planned(type, params, len(file)), header.root, len(file), header.digest
            )
            with server.transaction(write=True) as cursor:
                tables = schema.prepare(cursor, server.location)
            with server.transaction(write=True) as cursor:
                schema.reserve(cursor, tables)
                there = schema.read(cursor, tables, server.location)
                if there:
                    same = bool(wanted.source) and there.source == wanted.source
                    kinds.check_same_collection(
                        location, codes, there, wanted, same_rows=same, typed=type is not None
                    )
                    return cls(server, tables, there)
                schema.create(cursor, tables, wanted, server.location)
                contents = changing.build(cursor, tables, wanted, file, progress)
        return cls(server, tables, contents)

    @property
    def location(self) -> str:
        """The location that `transhash.open` takes."""
        return str(self._server.location)

    def __len__(self) -> int:
        """Return the number of images."""
        with self._server.transaction() as cursor:
            return selecting.count(cursor, self._tables, Condition())

    def _nearest(self, packed: NDArray[np.uint8], k: int, params: Params, where: Filter | None) -> Nearest:
        with self._searcher(params, where) as searcher:
            return searcher.nearest(packed, k)

    def _within(self, packed: NDArray[np.uint8], radius: int, params: Params, where: Filter | None) -> Within:
        with self._searcher(params, where) as searcher:
            return searcher.within(packed, min(radius, self.model.bits))

    def rows(self, ids: Sequence[int] | NDArray[np.int64]) -> list[Row]:
        """Return the paths and labels of the rows with the ids, in that order. Raises SelectionError."""
        numbers = checked_ids(ids).tolist()
        with self._server.transaction() as cursor:
            cursor.execute(
                self._tables.fill("SELECT id, path, labels FROM {rows} WHERE id = ANY(%s::bigint[])"),
                [sorted(set(numbers))],
            )
            found = {
                id: Row(os.fsdecode(texts.path(path)), tuple(map(texts.label_name, labels)))
                for id, path, labels in cursor
            }
        selection.check_ids(numbers, found)
        return [found[id] for id in numbers]

    def matching(self, where: Filter | Sequence[Filter], limit: int = 20) -> tuple[int, list[str]]:
        """Return how many rows pass at least one of the filters, and the paths of the first `limit` of them."""
        filters, limit = contract.filters_of(where), contract.whole("limit", limit, 0)
        with self._server.transaction() as cursor:
            condition = self._any(cursor, self._contents(cursor), filters)
            cursor.execute(
                self._tables.fill(
                    "SELECT path FROM {rows} WHERE {where} ORDER BY id LIMIT %s", where=condition.statement
                ),
                [*condition.values, limit],
            )
            shown = [os.fsdecode(texts.path(path)) for (path,) in cursor]
            return selecting.count(cursor, self._tables, condition), shown

    def snapshot(self) -> tuple[NDArray[np.int64], Codes]:
        """Return the ids (n,) and codes of all rows, in ascending order of ids, in memory, from one snapshot."""
        statement = "SELECT id, code, path, labels, size, mtime FROM {rows} ORDER BY id"
        with self._server.transaction() as cursor:
            root = self._contents(cursor).root
            found = list(streamed(cursor, self._tables.fill(statement)))
        ids, packed, paths, labels, *stats = zip(*found, strict=True) if found else ((),) * 6
        codes = np.frombuffer(b"".join(packed), np.uint8).reshape(-1, self.model.bits // 8)
        return np.array(ids, np.int64), stored.codes(codes, paths, labels, self.model, root, (stats[0], stats[1]))

    def add(
        self, codes: CodesInput | Sequence[CodesInput], *, replace: bool = False, progress: Progress = silent
    ) -> Added:
        """Add rows, with ids above all that were ever used: all of them, or none if one file is refused."""
        parts, done = kinds.codes_inputs(codes), []
        with changing.editing(self._server, self._tables) as (cursor, contents):
            for part in parts:
                with kinds.as_file(part) as path, kinds.open_rows(path) as file:
                    contents, added = changing.add(cursor, self._tables, contents, file, path.name, replace, progress)
                    done.append(added)
        self.reason = contents.exact
        return Added(sum(one.rows for one in done), sum(one.replaced for one in done))

    def remove(self, where: Filter | Sequence[Filter]) -> int:
        """Remove the rows that pass at least one of the filters, and return how many."""
        filters = contract.filters_of(where)
        with changing.editing(self._server, self._tables) as (cursor, contents):
            return changing.remove(cursor, self._tables, contents, self._any(cursor, contents, filters))

    def sync(self, codes: CodesInput, *, progress: Progress = silent) -> Changes:
        """Make the collection hold exactly the rows of `codes`, in one transaction; equal rows keep their ids."""
        with (
            kinds.as_file(kinds.codes_input(codes)) as path,
            kinds.open_rows(path) as file,
            changing.editing(self._server, self._tables) as (cursor, contents),
        ):
            return changing.sync(cursor, self._tables, contents, file, progress)

    def verify(self, *, progress: Progress = silent) -> Iterator[str]:
        """Read every row and check the indexes; yield a line for each fault."""
        with self._server.transaction() as cursor:
            contents = self._contents(cursor)
            faults = schema.faults(cursor, self._tables, contents)
            total = selecting.count(cursor, self._tables, Condition())
        for fault in faults:
            yield f"{self.location}: {fault}"
        progress(total, total)

    def info(self) -> dict[str, int | str]:
        """Describe the collection, and the server."""
        with self._server.transaction() as cursor:
            contents = self._contents(cursor)
            server, size = schema.described(cursor, self._tables)
            count = selecting.count(cursor, self._tables, Condition())
        return {
            "backend": "postgres",
            "server": server,
            "type": contents.type,
            **contents.params,
            **({"exact": contents.exact} if contents.exact else {}),
            "codes": count,
            "bits": self.model.bits,
            "model": self.model.name,
            "digest": self.model.digest,
            "next_id": contents.next_id,
            "bytes": size,
        }

    @contextmanager
    def _searcher(self, params: Params, where: Filter | None) -> Iterator[Searcher]:
        """Yield a searcher in a transaction; it uses the index unless a filter or equal codes would lose rows."""
        with self._server.transaction() as cursor:
            contents = self._contents(cursor)
            given = check_params(params, SEARCH[contents.type], f"searching type {contents.type} of PostgreSQL")
            condition = selecting.condition(cursor, self._tables, contents.root, where)
            index = None
            if SEARCH[contents.type] and condition.any and not contents.exact:
                (name,) = SEARCH[contents.type]
                value = given.get(name, contents.params[name])
                index = (contents.type, min(value, contents.params.get("nlist", value)))
            yield Searcher(cursor, self._tables, condition, index)

    def _contents(self, cursor: Cursor) -> Contents:
        contents = schema.read(cursor, self._tables, self._server.location)
        if contents is None:
            raise BackendError(f"{self.location}: no such collection; it was dropped")
        return contents

    def _any(self, cursor: Cursor, contents: Contents, where: Sequence[Filter]) -> Condition:
        return Condition.joined(
            "OR", (selecting.condition(cursor, self._tables, contents.root, one) for one in where)
        )
