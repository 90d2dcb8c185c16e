"""The one module that talks to LanceDB: one table, its rows and its metadata."""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Self
from uuid import uuid4

import lancedb
import msgspec
import numpy as np
import pyarrow as pa
from lancedb.index import IvfFlat
from numpy.typing import NDArray

from transhash.codes import Codes, ModelRef, texts
from transhash.codes.records import UNKNOWN
from transhash.errors import BackendError, TransHashError, one_line
from transhash.index import stored
from transhash.index.scanning import Block
from transhash.index.stored import StoredRows

from .location import Location

FORMAT = 0
PARAMS = {"flat": (), "ivf": ("nlist", "nprobe")}
"""The parameters of an index of each type."""
NewRows = tuple[NDArray[np.int64], Codes]
"""Ids (n,) and the rows that get them."""

KEY = "transhash"  # key in the metadata of the column `id`; the value is JSON
_ROWS = 1 << 16  # read at a time

# The child process that checks a codes file is forked, and does not use LanceDB.
warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)


class _Version(msgspec.Struct):
    format: int


@dataclass(frozen=True)
class Contents:
    """The metadata of a table.

    Attributes:
        model: the model that made the codes.
        type: of the index, ``flat`` or ``ivf``.
        params: of the index and its searches.
        root: the folder that patterns are relative to, as text.
        next_id: above all ids that were ever used.
        source: digest of the codes file that it was built from; empty after the first change.
        writer: random, another one whenever the metadata are written.
        format: version of the metadata.
    """

    model: ModelRef
    type: str
    params: dict[str, int]
    root: str
    next_id: int
    source: str
    writer: str = ""
    format: int = FORMAT

    def dump(self) -> str:
        """Return them as JSON."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def read(cls, text: bytes | None, location: Location) -> Self:
        """Read what `dump` wrote. Raises BackendError for a table of another program or version."""
        if text is None:
            raise BackendError(
                f"{location}: not a collection of TransHash, so it was not changed; choose another name"
            )
        try:
            version = msgspec.json.decode(text, type=_Version).format
            if version != FORMAT:
                raise BackendError(f"{location}: format version {version}, this TransHash reads {FORMAT}; upgrade it")
            found = msgspec.json.decode(text, type=cls)
            if found.params.keys() != set(PARAMS.get(found.type, ("",))):
                raise msgspec.ValidationError(f"type {found.type!r} with parameters {found.params}")
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise BackendError(
                f"{location}: its metadata are damaged ({one_line(error)}); build it again under another name"
            ) from None
        return found


class Store:
    """A table of LanceDB; every call reads its latest version."""

    def __init__(self, location: Location) -> None:
        """Connect; LanceDB takes credentials of object stores from the environment. Raises BackendError."""
        self.location = location
        with self._failures():
            self._database = lancedb.connect(location.database, read_consistency_interval=timedelta(0))

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except TransHashError:
            raise
        except Exception as error:  # LanceDB raises RuntimeError, ValueError, OSError and others
            raise BackendError(f"{self.location}: LanceDB says: {one_line(error)}") from None

    def exists(self) -> bool:
        """Return whether there is a table."""
        with self._failures():
            return self._found() is not None

    def create(self, contents: Contents, blocks: Iterable[tuple[int, Codes]]) -> None:
        """Write a table of (id of the first row, codes); it exists once it is complete. Raises BackendError."""
        schema = _schema(contents)
        batches = (_batch(block, np.arange(first, first + len(block)), schema) for first, block in blocks)
        with self._failures():
            self._database.create_table(
                self.location.name, pa.RecordBatchReader.from_batches(schema, batches), schema=schema
            )

    def contents(self) -> Contents:
        """Return the table's metadata. Raises BackendError if it is not one of TransHash."""
        with self._failures():
            schema = self._table().schema
            metadata = schema.field("id").metadata if "id" in schema.names else None
        return Contents.read((metadata or {}).get(KEY.encode()), self.location)

    def write(self, contents: Contents) -> Contents:
        """Change the table's metadata. Raises BackendError if another process does so, too."""
        wanted = replace(contents, writer=uuid4().hex)
        with self._failures():
            self._table().update_field_metadata({"path": "id", "metadata": {KEY: wanted.dump()}})
        if self.contents() != wanted:
            raise BackendError(f"{self.location}: another process is changing it; run the command again")
        return wanted

    def change(self, contents: Contents, new: Sequence[NewRows], gone: NDArray[np.int64]) -> None:
        """Add rows and remove others, as one version. Raises BackendError."""
        removing = f"id IN ({', '.join(map(str, gone.tolist()))})"
        with self._failures():
            if not new:
                self._table().delete(removing)
                return
            schema = _schema(contents)
            rows = pa.Table.from_batches([_batch(block, ids, schema) for ids, block in new])
            if not len(gone):
                self._table().add(rows)
                return
            merge = self._table().merge_insert("id").when_not_matched_insert_all()
            merge.when_not_matched_by_source_delete(removing).execute(rows)

    def index(self, lists: int) -> None:
        """Build the index of type ivf."""
        with self._failures():
            self._table().create_index("code", config=IvfFlat(distance_type="hamming", num_partitions=lists))

    def indexed(self) -> bool:
        """Return whether there is an index."""
        with self._failures():
            return any("code" in index.columns for index in self._table().list_indices())

    def count(self) -> int:
        """Return the number of rows."""
        with self._failures():
            return int(self._table().count_rows())

    def blocks(self, width: int) -> Iterator[Block]:
        """Yield the ids and codes of all rows."""
        with self._failures():
            for batch in self._table().search().select(["id", "code"]).to_batches(_ROWS):
                yield batch["id"].to_numpy(), _packed(batch["code"], width)

    def rows(self, ids: NDArray[np.int64] | None = None) -> StoredRows:
        """Return the paths and labels of the rows that have the ids; of all rows without `ids`."""
        contents = self.contents()
        with self._failures():
            found = self._read(["id", "path", "labels"], ids)
            paths, labels = found["path"].to_pylist(), found["labels"].to_pylist()
            return StoredRows(found["id"].to_numpy(), stored.records(paths, labels, texts.path(contents.root)))

    def codes(self) -> tuple[NDArray[np.int64], Codes]:
        """Return the ids (n,), ascending, and codes of all rows."""
        contents = self.contents()
        with self._failures():
            found = self._read(["id", "code", "path", "labels", "size", "mtime"])
            packed = _packed(found["code"].combine_chunks(), contents.model.bits // 8)
            paths, labels, sizes, mtimes = (found[name].to_pylist() for name in ("path", "labels", "size", "mtime"))
            root = texts.path(contents.root)
            codes = stored.codes(packed, paths, labels, contents.model, root, (sizes, mtimes))
            return found["id"].to_numpy(), codes

    def _read(self, columns: list[str], ids: NDArray[np.int64] | None = None) -> Any:
        """Return columns, id among them, of the rows that have the ids, in the order of these."""
        query = self._table().search().select(columns)
        if ids is not None:
            query = query.where(f"id IN ({', '.join(map(str, ids.tolist()))})")
        return query.limit(None).to_arrow().sort_by("id")

    def nearest(
        self, query: NDArray[np.uint8], limit: int, nprobe: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return ids and distances of a query's nearest rows by the index, ordered by (distance, id)."""
        with self._failures():
            search = self._table().search(query.tolist(), vector_column_name="code").distance_type("hamming")
            found = search.nprobes(nprobe).limit(limit).select(["id", "_distance"]).to_arrow()
        ids, distances = found["id"].to_numpy(), found["_distance"].to_numpy().astype(np.int32)
        order = np.lexsort((ids, distances))
        return ids[order], distances[order]

    def version(self) -> int:
        """Return the version of the table."""
        with self._failures():
            return int(self._table().version)

    def _table(self) -> Any:
        table = self._found()
        if table is None:
            raise BackendError(
                f"{self.location}: no such collection; make one with: th index build CODES -o LOCATION"
            )
        return table

    def _found(self) -> Any:
        """Open the table; return None if there is none."""
        try:
            return self._database.open_table(self.location.name)
        except (FileNotFoundError, ValueError) as error:
            if "not found" not in str(error):
                raise
        return None


def _schema(contents: Contents) -> Any:
    code = pa.list_(pa.field("item", pa.uint8(), False), contents.model.bits // 8)
    return pa.schema(
        [
            pa.field("id", pa.int64(), False, {KEY: contents.dump()}),
            pa.field("code", code, False),
            pa.field("path", pa.string(), False),
            pa.field("labels", pa.list_(pa.string()), False),
            ("size", pa.int64()),
            ("mtime", pa.int64()),
        ]
    )


def _batch(block: Codes, ids: NDArray[np.int64], schema: Any) -> Any:
    """Return rows as LanceDB stores them."""
    records = block.records
    codes = pa.array(np.ascontiguousarray(block.packed).reshape(-1))
    labels = [[texts.label(name) for name in records.names(row)] for row in range(len(block))]
    stats = (
        pa.nulls(len(block), pa.int64()) if values is None else pa.array(values, mask=values == UNKNOWN)
        for values in (records.sizes, records.mtimes)
    )
    columns = [
        pa.array(ids, pa.int64()),
        pa.FixedSizeListArray.from_arrays(codes, type=schema.field("code").type),
        pa.array([texts.text(path) for path in records.full_paths()], pa.string()),
        pa.array(labels, schema.field("labels").type),
        *stats,
    ]
    return pa.record_batch(columns, schema=schema)


def _packed(column: Any, width: int) -> NDArray[np.uint8]:
    return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
