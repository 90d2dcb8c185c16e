"""The tables: a catalog of the collections of a schema, and a table for each. ``docs/postgres.md`` describes them."""

from dataclasses import dataclass
from typing import LiteralString

from psycopg import errors, sql
from psycopg.types.json import Jsonb

from transhash.backends import check_params
from transhash.codes import ModelRef, texts
from transhash.errors import BackendError
from transhash.index.contract import Params

from .location import CATALOG, Location
from .server import Cursor

FORMAT = 0
SEARCH = {"flat": (), "ivf": ("nprobe",), "hnsw": ("ef",)}
"""The index types, and the parameters of a search that each takes."""
PARAMS = {"flat": (), "ivf": ("nlist", "nprobe"), "hnsw": ("M", "ef_construction", "ef")}
"""The parameters of an index of each type."""

_LOCK = 0x7472616E73686173  # key of the advisory lock on builds: "transhas" in ASCII
_OLDEST = (0, 8)  # pgvector that has iterative scans
_OLDEST_SERVER = 140_000  # the first version whose split_part counts from the end
_USUAL_LISTS = 2000
_MOST_LISTS = 1 << 15
_SAMPLES = 50  # rows per list from which pgvector trains the lists, but at least 10,000
_HNSW = {"M": (16, 2, 100), "ef_construction": (64, 4, 1000), "ef": (100, 1, 1000)}  # default, lowest, highest
# HNSW links copies of one code only to each other if there are more than 5·M; measured, see docs/postgres.md.
_EQUAL_PER_LINK = 5
_FIELDS = "format, model, digest, bits, preprocessing, type, params, root, next_id, source, most_equal"


@dataclass(frozen=True)
class Tables:
    """The schema and name of a collection's table, and the schema of pgvector."""

    schema: str
    name: str
    vector: str

    def fill(self, text: LiteralString, **parts: sql.Composable) -> sql.Composed:
        """Return a statement with ``{rows}``, ``{catalog}``, ``{distance}``, ``{opclass}`` and others filled in."""
        return sql.SQL(text).format(
            rows=self.rows,
            catalog=quoted(self.schema, CATALOG),
            distance=sql.SQL("OPERATOR({}.<~>)").format(quoted(self.vector)),
            opclass=quoted(self.vector, "bit_hamming_ops"),
            **parts,
        )

    @property
    def rows(self) -> sql.Identifier:
        """The table of the rows."""
        return quoted(self.schema, self.name)


def quoted(*names: str) -> sql.Identifier:
    """Return a name, or one in a schema, as it stands in a statement with parameters."""
    return sql.Identifier(*(name.replace("%", "%%") for name in names))


@dataclass(frozen=True)
class Contents:
    """A row of the catalog.

    Attributes:
        model: the model that made the codes.
        type: of the index: ``flat``, ``ivf`` or ``hnsw``.
        params: of the index, with the defaults of its searches.
        root: the folder that patterns are relative to.
        next_id: above all ids that were ever used.
        source: digest of the codes file that the collection was built from; empty after the first change.
        most_equal: the maximum number of images that share one code, for type hnsw; else 0.
    """

    model: ModelRef
    type: str
    params: dict[str, int]
    root: bytes
    next_id: int
    source: str
    most_equal: int = 0

    @property
    def exact(self) -> str:
        """The reason why searches compare every row although there is an index; empty if they use it."""
        if self.type == "hnsw" and self.most_equal > _EQUAL_PER_LINK * self.params["M"]:
            return f"{self.most_equal} images share one code, among which HNSW would miss others: searches are exact"
        return ""

    def values(self) -> list[object]:
        """Return the values of `_FIELDS`."""
        model = self.model
        return [
            FORMAT,
            texts.label(model.name),
            model.digest,
            model.bits,
            texts.label(model.preprocessing),
            self.type,
            Jsonb(self.params),
            texts.text(self.root),
            self.next_id,
            self.source,
            self.most_equal,
        ]


def planned(type: str | None, params: Params | None, count: int) -> tuple[str, dict[str, int]]:
    """Return the type of an index of `count` codes, and its parameters. Raises BackendError."""
    kind = type or "flat"
    if kind not in SEARCH:
        raise BackendError(f"the postgres backend has no index type {kind!r}; it has: {', '.join(SEARCH)}")
    given = check_params(params, PARAMS[kind], f"index type {kind} of PostgreSQL")
    if kind == "ivf":
        # as pgvector advises, but with no more lists than can be trained in a gigabyte
        usual = max(1, min(round(count**0.5 if count > 1_000_000 else count / 1000), _USUAL_LISTS))
        nlist = min(given.get("nlist", usual), _MOST_LISTS)
        return kind, {"nlist": nlist, "nprobe": min(given.get("nprobe", max(1, round(nlist**0.5))), nlist)}
    chosen = {name: given.get(name, default) for name, (default, _, _) in _HNSW.items()} if kind == "hnsw" else {}
    for name, value in chosen.items():
        _, low, high = _HNSW[name]
        if not low <= value <= high:
            raise BackendError(f"{name}={value}: pgvector takes {low} to {high}")
    if chosen and chosen["ef_construction"] < 2 * chosen["M"]:
        raise BackendError(f"ef_construction={chosen['ef_construction']}: must be at least 2·M, {2 * chosen['M']}")
    return kind, chosen


def find(cursor: Cursor, location: Location) -> Tables | None:
    """Return a collection's tables; None if there is no catalog, or no pgvector."""
    cursor.execute(
        "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE c.relname = %s AND c.relkind = 'r' AND c.relpersistence <> 't' AND pg_table_is_visible(c.oid)",
        [CATALOG],
    )
    schema, vector = cursor.fetchone(), _pgvector(cursor)
    return Tables(schema[0], location.name, vector[0]) if schema and vector else None


def prepare(cursor: Cursor, location: Location) -> Tables:
    """Return a new collection's tables, after creating the catalog and pgvector if needed. Raises BackendError.

    Other builds wait until the transaction ends.
    """
    cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    _check_server(cursor, location)
    vector = _pgvector(cursor) or _install(cursor, location)
    if tuple(map(int, vector[1].split(".")[:2])) < _OLDEST:
        raise BackendError(
            f"{location}: pgvector {vector[1]} is too old; run ALTER EXTENSION vector UPDATE (0.8 or later)"
        )
    there = find(cursor, location)
    if there:
        return there
    cursor.execute("SELECT current_schema()")
    found = cursor.fetchone()
    if not found or not found[0]:
        raise BackendError(f"{location}: no schema to create tables in; set the role's search_path")
    tables = Tables(found[0], location.name, vector[0])
    cursor.execute(
        tables.fill(
            'CREATE TABLE {catalog} (name text COLLATE "C" PRIMARY KEY, format int NOT NULL, model text NOT NULL, '
            "digest text NOT NULL, bits int NOT NULL, preprocessing text NOT NULL, type text NOT NULL, "
            "params jsonb NOT NULL, root text NOT NULL, next_id bigint NOT NULL, source text NOT NULL, "
            "most_equal bigint NOT NULL)"
        )
    )
    cursor.execute(tables.fill("COMMENT ON TABLE {catalog} IS 'Collections of TransHash in this schema'"))
    return tables


def reserve(cursor: Cursor, tables: Tables) -> None:
    """Make other builds of a collection of the same name wait until the transaction ends."""
    cursor.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, %s))", [f"{tables.schema}.{tables.name}", _LOCK]
    )


def read(cursor: Cursor, tables: Tables, location: Location, lock: bool = False) -> Contents | None:
    """Return the contents of a collection; None if no collection has that name, or its table was dropped.

    With `lock`, other writers wait until the transaction ends. Raises BackendError for an unknown version.
    """
    # the fields are constants of this module, not names from outside
    statement = sql.SQL(
        "SELECT {fields} FROM {catalog} "
        "WHERE name = %s AND to_regclass(format('%%I.%%I', %s::text, name)) IS NOT NULL{lock}"
    ).format(
        fields=sql.SQL(_FIELDS),
        catalog=quoted(tables.schema, CATALOG),
        lock=sql.SQL(" FOR UPDATE" if lock else ""),
    )
    row = cursor.execute(statement, [tables.name, tables.schema]).fetchone()
    if row is None:
        return None
    version, model, digest, bits, preprocessing, kind, params, root, next_id, source, most_equal = row
    if version != FORMAT:
        raise BackendError(f"{location}: format version {version}, this TransHash reads {FORMAT}; upgrade it")
    made = ModelRef(texts.label_name(model), digest, bits, texts.label_name(preprocessing))
    whole = isinstance(params, dict) and all(isinstance(params.get(name), int) for name in PARAMS.get(kind, ()))
    if kind not in SEARCH or not whole:
        raise BackendError(f"{location}: its row of {CATALOG} is damaged; build it again under another name")
    return Contents(made, kind, params, texts.path(root), next_id, source, most_equal)


def create(cursor: Cursor, tables: Tables, contents: Contents, location: Location) -> None:
    """Create an empty table, and its row of the catalog. Raises BackendError if the name is taken."""
    try:
        cursor.execute(
            tables.fill(
                'CREATE TABLE {rows} (id bigint NOT NULL, code bit({bits}) NOT NULL, path text COLLATE "C" NOT NULL, '
                "labels text[] NOT NULL, size bigint, mtime bigint)",
                bits=sql.Literal(contents.model.bits),
            )
        )
    except (errors.DuplicateTable, errors.DuplicateObject):
        raise BackendError(
            f"{location}: exists, and is not a collection of TransHash, so it was not changed; choose another name"
        ) from None
    cursor.execute(  # in place of the row of a table that was dropped
        sql.SQL(
            "INSERT INTO {catalog} (name, {fields}) VALUES (%s{values}) ON CONFLICT (name) DO UPDATE SET {same}"
        ).format(
            same=sql.SQL(", ".join(f"{field} = EXCLUDED.{field}" for field in _FIELDS.split(", "))),
            catalog=quoted(tables.schema, CATALOG),
            fields=sql.SQL(_FIELDS),
            values=sql.SQL(", %s" * len(contents.values())),
        ),
        [tables.name, *contents.values()],
    )


def update(cursor: Cursor, tables: Tables, contents: Contents) -> None:
    """Write the fields that change to the catalog."""
    cursor.execute(
        tables.fill("UPDATE {catalog} SET root = %s, next_id = %s, source = %s, most_equal = %s WHERE name = %s"),
        [texts.text(contents.root), contents.next_id, contents.source, contents.most_equal, tables.name],
    )


def add_indexes(cursor: Cursor, tables: Tables, contents: Contents) -> None:
    """Create the indexes of a filled table."""
    params = {name: sql.Literal(value) for name, value in contents.params.items()}
    cursor.execute(tables.fill("ALTER TABLE {rows} ADD PRIMARY KEY (id)"))
    cursor.execute(tables.fill("CREATE INDEX ON {rows} USING hash (path)"))
    cursor.execute(tables.fill("CREATE INDEX ON {rows} USING gin (labels)"))
    if contents.type == "ivf":
        _allow_memory(cursor, contents)
        cursor.execute(
            tables.fill("CREATE INDEX ON {rows} USING ivfflat (code {opclass}) WITH (lists = {nlist})", **params)
        )
    if contents.type == "hnsw":
        cursor.execute(
            tables.fill(
                "CREATE INDEX ON {rows} USING hnsw (code {opclass}) "
                "WITH (m = {M}, ef_construction = {ef_construction})",
                **params,
            )
        )
    cursor.execute(tables.fill("ANALYZE {rows}"))


def _allow_memory(cursor: Cursor, contents: Contents) -> None:
    """Allow what training the lists of an ivfflat index takes, for the rest of the transaction."""
    lists = contents.params["nlist"]
    samples = max(_SAMPLES * lists, 10_000)
    needed = 4 * lists * (samples + 2 * lists) + (samples + 4 * lists) * (contents.model.bits // 8 + 64) + (16 << 20)
    cursor.execute(
        "SELECT set_config('maintenance_work_mem', %s, true) "
        "WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < %s",
        [f"{needed >> 10}kB", needed],
    )


def most_equal(cursor: Cursor, tables: Tables) -> int:
    """Return the maximum number of rows that share one code."""
    cursor.execute(
        tables.fill("SELECT coalesce(max(n), 0) FROM (SELECT count(*) n FROM {rows} GROUP BY code) counts")
    )
    (found,) = cursor.fetchone() or (0,)
    return int(found)


def described(cursor: Cursor, tables: Tables) -> tuple[str, int]:
    """Return the versions of the server and of pgvector, and the bytes of a collection with its indexes."""
    vector = _pgvector(cursor)
    cursor.execute(
        "SELECT current_setting('server_version'), pg_total_relation_size(c.oid) FROM pg_class c "
        "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relname = %s",
        [tables.schema, tables.name],
    )
    version, size = cursor.fetchone() or ("", 0)
    return f"PostgreSQL {version.split()[0]}, pgvector {vector[1] if vector else '?'}", int(size)


def faults(cursor: Cursor, tables: Tables, contents: Contents) -> list[str]:
    """Read every row, and return a line for each fault of a collection."""
    found = []
    cursor.execute(
        tables.fill(
            "SELECT count(*) FILTER (WHERE id < 0 OR id >= %s), count(*) - count(DISTINCT id), "
            "count(*) FILTER (WHERE length(code) <> %s), count(*) FILTER (WHERE path IS NULL OR labels IS NULL), "
            "sum(octet_length(path)) FROM {rows}"
        ),
        [contents.next_id, contents.model.bits],
    )
    unknown, twice, wide, empty, _ = cursor.fetchone() or (0, 0, 0, 0, 0)
    found += [f"{unknown} rows with ids that were never used; next_id is {contents.next_id}"] if unknown else []
    found += [f"{twice} rows whose ids occur more than once"] if twice else []
    found += [f"{wide} codes of another width than {contents.model.bits} bits"] if wide else []
    found += [f"{empty} rows without path or labels"] if empty else []
    cursor.execute(
        "SELECT a.amname, i.indisvalid AND i.indisready FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
        "JOIN pg_am a ON a.oid = c.relam JOIN pg_class t ON t.oid = i.indrelid "
        "JOIN pg_namespace n ON n.oid = t.relnamespace WHERE n.nspname = %s AND t.relname = %s",
        [tables.schema, tables.name],
    )
    there = {name for name, valid in cursor if valid}
    wanted = {"btree", "hash", "gin"} | {"ivf": {"ivfflat"}, "hnsw": {"hnsw"}}.get(contents.type, set())
    found += [f"no valid index of type {name}; searches are slow without it" for name in sorted(wanted - there)]
    return found


def _pgvector(cursor: Cursor) -> tuple[str, str] | None:
    """Return the schema and version of pgvector in the database."""
    cursor.execute(
        "SELECT n.nspname, e.extversion FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace "
        "WHERE e.extname = 'vector'"
    )
    row = cursor.fetchone()
    return (row[0], row[1]) if row else None


def _install(cursor: Cursor, location: Location) -> tuple[str, str]:
    """Create the extension. Raises BackendError if the server lacks it, or the role may not."""
    try:
        cursor.execute("CREATE EXTENSION vector")
    except (errors.UndefinedFile, errors.FeatureNotSupported):
        raise BackendError(f"{location}: the server has no pgvector; install its package there") from None
    except errors.InsufficientPrivilege:
        raise BackendError(
            f"{location}: the database has no pgvector, and the role may not add it; have an administrator run "
            "CREATE EXTENSION vector"
        ) from None
    found = _pgvector(cursor)
    assert found
    return found


def _check_server(cursor: Cursor, location: Location) -> None:
    cursor.execute("SELECT current_setting('server_encoding'), current_setting('server_version_num')::int")
    encoding, version = cursor.fetchone() or ("", 0)
    if encoding != "UTF8":
        raise BackendError(f"{location}: the database has the encoding {encoding}; create one with ENCODING 'UTF8'")
    if version < _OLDEST_SERVER:
        raise BackendError(f"{location}: PostgreSQL {version // 10_000} is too old; 14 or later is needed")
