"""The one module that talks to LanceDB: one table, its rows and what it says of itself."""

import json
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, Self
from uuid import uuid4

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import IvfFlat
from numpy.typing import NDArray

from transhash.codes import Codes, ModelRef, texts
from transhash.codes.records import UNKNOWN
from transhash.errors import BackendError, TransHashError, one_line
from transhash.index import stored
from transhash.index.scanning import Block

from .location import Location

FORMAT = 0
KEY = "transhash"  # of the metadata of the column id, JSON
_ROWS = 1 << 16  # read at a time

# The child process that checks a codes file is forked, and does not use LanceDB.
warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)


@dataclass(frozen=True)
class Contents:
    """What a table says of itself.

    Attributes:
        model: what made the codes.
        type: of the index, ``flat`` or ``ivf``.
        params: of the index and its searches.
        root: the folder that patterns are relative to, as text.
        next_id: above all ids that were ever given.
        source: digest of the codes file that it was built from; empty once it was changed.
        writer: who wrote this last.
    """

    model: ModelRef
    type: str
    params: dict[str, int]
    root: str
    next_id: int
    source: str
    writer: str = ""

    def dump(self) -> str:
        """Return it as JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)})

    @classmethod
    def read(cls, text: bytes | None, location: Location) -> Self:
        """Read what `dump` wrote. Raises BackendError for a table of others, or of another version."""
        if text is None:
            raise BackendError(
                f"{location}: not a collection of TransHash, so it stays as it is; choose another name"
            )
        try:
            document = json.loads(text)
            version = document.pop("format")
            if version != FORMAT:
                raise BackendError(f"{location}: format version {version}, this TransHash reads {FORMAT}; upgrade it")
            return cls(ModelRef(**document.pop("model")), **document)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise BackendError(f"{location}: its metadata are damaged ({error!r}); build it again") from None


class Store:
    """A table of LanceDB, as it is now: every call sees the latest version."""

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
            try:
                self._database.open_table(self.location.name)
            except (FileNotFoundError, ValueError) as error:
                if "not found" in str(error):
                    return False
                raise
        return True

    def create(self, contents: Contents, blocks: Iterable[tuple[int, Codes]]) -> None:
        """Write a table of (id of the first row, codes); it is there once all of it is. Raises BackendError."""
        schema = _schema(contents)
        batches = (_batch(block, np.arange(first, first + len(block)), schema) for first, block in blocks)
        with self._failures():
            self._database.create_table(
                self.location.name, pa.RecordBatchReader.from_batches(schema, batches), schema=schema
            )

    def contents(self) -> Contents:
        """Return what the table says of itself. Raises BackendError if it is not one of TransHash."""
        return Contents.read(
            self._column().metadata.get(KEY.encode()) if self._column().metadata else None, self.location
        )

    def write(self, contents: Contents) -> Contents:
        """Change what the table says of itself. Raises BackendError if another process does so, too."""
        wanted = replace(contents, writer=uuid4().hex)
        with self._failures():
            self._table().update_field_metadata({"path": "id", "metadata": {KEY: wanted.dump()}})
        if self.contents() != wanted:
            raise BackendError(f"{self.location}: another process is changing it; run the command again")
        return wanted

    def change(self, contents: Contents, new: Codes, first: int, gone: NDArray[np.int64]) -> None:
        """Add rows with ids from `first` on and remove others, as one version. Raises BackendError."""
        removing = f"id IN ({', '.join(map(str, gone.tolist()))})"
        with self._failures():
            if not len(new):
                if len(gone):
                    self._table().delete(removing)
                return
            rows = pa.Table.from_batches([_batch(new, np.arange(first, first + len(new)), _schema(contents))])
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

    def read(self, contents: Contents, ids: NDArray[np.int64] | None = None) -> tuple[NDArray[np.int64], Codes]:
        """Return ids (n,), ascending, and the rows that have them; all rows without `ids`."""
        with self._failures():
            query = self._table().search()
            if ids is not None:
                query = query.where(f"id IN ({', '.join(map(str, ids.tolist()))})")
            rows = query.limit(None).to_arrow().sort_by("id")
        labels = rows["labels"].to_pylist()
        stats = rows["size"].to_pylist(), rows["mtime"].to_pylist()
        packed = _packed(rows["code"].combine_chunks(), contents.model.bits // 8)
        root = texts.path(contents.root)
        codes = stored.codes(packed, rows["path"].to_pylist(), labels, contents.model, root, stats)
        return rows["id"].to_numpy(), codes

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
        try:
            return self._database.open_table(self.location.name)
        except (FileNotFoundError, ValueError) as error:
            if "not found" not in str(error):
                raise
            raise BackendError(
                f"{self.location}: no such collection; make one with: th index build CODES -o LOCATION"
            ) from None

    def _column(self) -> Any:
        with self._failures():
            schema = self._table().schema
            if "id" not in schema.names:
                return pa.field("id", pa.int64())
            return schema.field("id")


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
