"""The entry point ``milvus``: open, build and search collections; `changing` changes them."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pymilvus import DataType, MilvusClient

from transhash.backends import check_params, clustering
from transhash.codes import MAX_LABELS, Codes, texts
from transhash.errors import BackendError, SelectionError, redacted
from transhash.index import contract, kinds, stored
from transhash.index.contract import CodesInput, Params
from transhash.index.filters import Filter, checked_ids
from transhash.index.rows import Added, Changes, Row
from transhash.results import Nearest, Within
from transhash.system.arguments import checked
from transhash.system.progress import Progress, silent

from . import changing, expressions, selecting
from .contents import PARAMS, STATE, Contents, Load, State
from .ledger import Ledger
from .loading import MAX_TEXT
from .location import Location
from .searching import MOST_HITS, Searcher
from .server import PAGE, Server

_INDEXES = {"flat": "BIN_FLAT", "ivf": "BIN_IVF_FLAT"}
_MAX_LISTS = 1 << 16
_POLL = 0.2  # seconds between two requests for the server's progress


class MilvusCollection(contract.Server):
    """Images in a collection of Milvus, which stores everything that is known about them.

    Types are ``flat`` (BIN_FLAT, exact) and ``ivf`` (BIN_IVF_FLAT).
    """

    types: ClassVar[tuple[str, ...]] = tuple(_INDEXES)

    def __init__(self, ledger: Ledger) -> None:
        """Take a collection's ledger; use `open` or `build` instead."""
        self._ledger = ledger
        self._server = ledger.server
        self._contents = ledger.contents
        self._root = texts.path(ledger.contents.root)
        self.model = ledger.contents.model

    @classmethod
    @checked
    def open(cls, location: str, consistency: str = "Strong") -> Self:
        """Open a collection that `build` made.

        Args:
            location: ``milvus://HOST:PORT/NAME``, or ``milvus+https://…``.
            consistency: of searches. Strong sees every change that was acknowledged; Bounded is faster, and may lag
                some seconds behind.

        Credentials are those of the environment: MILVUS_TOKEN, or MILVUS_USER and MILVUS_PASSWORD.

        Raises BackendError if it does not exist, is not complete or was not created by TransHash, or the server does
        not answer.
        """
        server = Server(Location.parse(location), consistency)
        if not server.call("has_collection"):
            raise BackendError(
                f"{redacted(location)}: no such collection; make one with: th index build CODES -o LOCATION"
            )
        ledger = Ledger.read(server)
        if ledger.state.pending and ledger.state.pending.kind == "build":
            ledger.check_idle()
        _make_ready(server, ledger.contents)
        return cls(ledger)

    @classmethod
    @checked
    def build(
        cls,
        codes: Path,
        location: str,
        *,
        type: str | None = None,
        params: Params | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Build a collection of a codes file's rows, with ids from 0; resume where an earlier call was stopped.

        Raises BackendError if another collection has that name; it is left as it is.
        """
        place = Location.parse(location)
        with changing.opened(codes) as file:
            model, digest = file.header.model, file.header.digest
            wanted = Contents(model, *_planned(type, params, len(file)), texts.text(file.header.root))
            server = Server(place)
            if not server.call("has_collection"):
                load = Load("build", codes.name, digest, 0, len(file))
                _create(server, wanted, State(0).begin(load))
            ledger = Ledger.read(server)
            pending = ledger.state.pending
            unfinished = pending is not None and (pending.kind, pending.digest) == ("build", digest)
            same = unfinished or ledger.state.holds(digest)
            kinds.check_same_collection(place, codes, ledger.contents, wanted, same_rows=same, typed=type is not None)
            _make_ready(server, ledger.contents)
            if pending:
                changing.finish(ledger, file, progress)
                _settle(server)
        return cls(ledger)

    @property
    def location(self) -> str:
        """The location that `transhash.open` takes."""
        return str(self._server.location)

    def __len__(self) -> int:
        """Return the number of images."""
        return self._server.count(expressions.EVERYTHING)

    def _nearest(self, packed: NDArray[np.uint8], k: int, params: Params, where: Filter | None) -> Nearest:
        if k >= MOST_HITS:
            raise BackendError(f"k={k}: Milvus finds from 1 to {MOST_HITS - 1} matches for a query")
        return self._searcher(params, where).nearest(packed, k)

    def _within(self, packed: NDArray[np.uint8], radius: int, params: Params, where: Filter | None) -> Within:
        return self._searcher(params, where).within(packed, min(radius, self.model.bits))

    def rows(self, ids: Sequence[int] | NDArray[np.int64]) -> list[Row]:
        """Return the paths and labels of the rows with the ids, in that order. Raises SelectionError."""
        found: dict[int, Row] = {}
        numbers = checked_ids(ids)
        wanted = np.unique(numbers).tolist()
        for start in range(0, len(wanted), PAGE):
            condition = expressions.one_of("id", wanted[start : start + PAGE])
            for row in self._server.query(condition, ["path", "labels"], consistency_level=self._server.consistency):
                found[row["id"]] = Row(
                    os.fsdecode(texts.path(row["path"])), tuple(map(texts.label_name, row["labels"]))
                )
        for id in wanted:
            if id not in found:
                raise SelectionError(f"id {id}: not in the collection; it was removed, or never existed")
        return [found[id] for id in numbers.tolist()]

    @checked
    def matching(self, where: Filter | Sequence[Filter], limit: int = 20) -> tuple[int, list[str]]:
        """Return how many rows pass at least one of the filters, and the paths of the first `limit` of them."""
        condition = self._any(where)
        rows = self._server.query(condition, ["path"], limit=contract.whole("limit", limit, 1))
        return self._server.count(condition), [os.fsdecode(texts.path(row["path"])) for row in rows]

    def snapshot(self) -> tuple[NDArray[np.int64], Codes]:
        """Return the ids (n,) and codes of all rows, in ascending order of ids, in memory."""
        pages = self._server.pages(expressions.EVERYTHING, ["id", "code", "path", "labels"])
        found = [row for page in pages for row in page]
        packed = np.frombuffer(b"".join(row["code"][0] for row in found), np.uint8).reshape(len(found), -1)
        paths, labels = [row["path"] for row in found], [row["labels"] for row in found]
        codes = stored.codes(packed, paths, labels, self.model, self._root)
        return np.array([row["id"] for row in found], np.int64), codes

    @checked
    def add(
        self, codes: CodesInput | Sequence[CodesInput], *, replace: bool = False, progress: Progress = silent
    ) -> Added:
        """Add the rows of codes, file by file: an interrupted file is resumed, one already added is skipped."""
        done = []
        for part in kinds.codes_inputs(codes):
            with kinds.as_file(part) as file:
                done.append(changing.add(self._ledger, file, replace, progress))
        return Added(sum(one.rows for one in done), sum(one.replaced for one in done))

    @checked
    def remove(self, where: Filter | Sequence[Filter]) -> int:
        """Remove the rows that pass at least one of the filters, and return how many."""
        return changing.remove(self._ledger, self._any(where))

    @checked
    def sync(self, codes: CodesInput, *, progress: Progress = silent) -> Changes:
        """Make the collection hold exactly the rows of `codes`; equal rows keep their ids."""
        with kinds.as_file(kinds.codes_input(codes)) as file:
            return changing.sync(self._ledger, file, progress)

    @checked
    def verify(self, *, progress: Progress = silent) -> Iterator[str]:
        """Read every row; yield a line for an unfinished load, and for each faulty row."""
        self._ledger.refresh()
        pending = self._ledger.state.pending
        if pending:
            yield f"{self.location}: {pending.kind} of {pending.name} has not ended"
        total, before, done = len(self), -1, 0
        for page in self._server.pages(expressions.EVERYTHING, ["id", "code", "path", "labels"]):
            for row in page:
                if not before < row["id"] < self._ledger.state.next_id:
                    yield f"{self.location}: id {row['id']} occurs twice, or was never assigned"
                if len(row["code"][0]) * 8 != self.model.bits:
                    yield f"{self.location}: id {row['id']}: a code of {len(row['code'][0]) * 8} bits"
                before = row["id"]
            done += len(page)
            progress(done, total)
        if done != total:
            yield f"{self.location}: only {done} of {total} rows could be read"

    def info(self) -> dict[str, int | str]:
        """Describe the collection, and the server."""
        self._ledger.refresh()
        pending = self._ledger.state.pending
        return {
            "backend": "milvus",
            "server": self._server.version(),
            "type": self._contents.type,
            **self._contents.params,
            "codes": len(self),
            "bits": self.model.bits,
            "model": self.model.name,
            "digest": self.model.digest,
            "next_id": self._ledger.state.next_id,
            **({"pending": f"{pending.kind} of {pending.name}"} if pending else {}),
        }

    def _searcher(self, params: Params | None, where: Filter | None) -> Searcher:
        known = ("nprobe",) if "nprobe" in self._contents.params else ()
        given = {
            **self._contents.params,
            **check_params(params, known, f"searching type {self._contents.type} of Milvus"),
        }
        search_params = {"nprobe": min(given["nprobe"], given["nlist"])} if known else {}
        condition = selecting.condition(self._server, where, self._root)
        return Searcher(self._server, self._next_id, condition, search_params)

    def _next_id(self) -> int:
        self._ledger.refresh()
        return self._ledger.state.next_id

    def _any(self, where: Filter | Sequence[Filter]) -> str:
        chosen = contract.filters_of(where)
        return expressions.any_of(selecting.condition(self._server, one, self._root) for one in chosen)


def _planned(type: str | None, params: Params | None, count: int) -> tuple[str, dict[str, int]]:
    """Return the type of an index of `count` codes, and its parameters."""
    kind = type or MilvusCollection.types[0]
    if kind not in _INDEXES:
        raise BackendError(f"the milvus backend has no index type {kind!r}; it has: {', '.join(_INDEXES)}")
    given = check_params(params, PARAMS[kind], f"index type {kind} of Milvus")
    if kind == "flat":
        return kind, {}
    nlist, nprobe = clustering.plan(count, given.get("nlist"), given.get("nprobe"))
    return kind, {"nlist": min(nlist, _MAX_LISTS), "nprobe": min(nprobe, _MAX_LISTS)}


def _create(server: Server, contents: Contents, state: State) -> None:
    """Create an empty collection with its description and state."""
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=contents.dump())
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("code", DataType.BINARY_VECTOR, dim=contents.model.bits)
    schema.add_field("path", DataType.VARCHAR, max_length=MAX_TEXT)
    schema.add_field(
        "labels", DataType.ARRAY, element_type=DataType.VARCHAR, max_capacity=MAX_LABELS, max_length=MAX_TEXT
    )
    server.call("create_collection", schema=schema, consistency_level="Strong", properties={STATE: state.dump()})


def _make_ready(server: Server, contents: Contents) -> None:
    """Make sure that the collection has its index and is loaded, in case an earlier build was stopped before that."""
    if not server.call("list_indexes"):
        index = MilvusClient.prepare_index_params()
        lists = {"nlist": contents.params["nlist"]} if contents.type == "ivf" else {}
        index.add_index("code", index_type=_INDEXES[contents.type], metric_type="HAMMING", params=lists)
        server.call("create_index", index_params=index)
    server.call("load_collection")


def _settle(server: Server) -> None:
    """Wait until all rows are in the index: until then Milvus compares them one by one."""
    server.call("flush")
    while server.call("describe_index", index_name="code")["pending_index_rows"]:
        time.sleep(_POLL)
