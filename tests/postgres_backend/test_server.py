"""Tests against a real PostgreSQL server."""

import itertools
import json
import multiprocessing
import os
import signal
import time
from contextlib import closing
from threading import Thread
from urllib.parse import quote

import numpy as np
import pytest

import transhash
from postgres_backend import searching
from transhash import Filter, hamming
from transhash.codes import Codes, ModelRef, Records, write_codes
from transhash.errors import BackendError, MismatchError, SelectionError
from transhash.testing import CollectionContract

from .conftest import PASSWORD

MODEL = ModelRef("phash", "phash-dct-64", 64)


def written(path, codes, names=None, model=MODEL, root=b"/pictures", labels=None):
    """A codes file with a path for every code."""
    paths = names or [f"{row % 7}/{row}.png".encode() for row in range(len(codes))]
    extra = () if labels is None else (np.array(labels, np.int32), ("a", "b", "c"))
    write_codes(path, Codes(codes, Records(paths, root, *extra), model))
    return path


def build(postgres, codes, name, **options):
    return transhash.build_index(codes, postgres.location(quote(name, safe="")), **options)


def random_codes(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 8), dtype=np.uint8)


class TestFlat(CollectionContract):
    options: dict[str, object] = {"type": "flat"}

    @pytest.fixture(autouse=True)
    def _postgres(self, postgres):
        self.postgres = postgres

    def build(self, codes, place):
        return build(self.postgres, codes, f"c{time.time_ns()}", **self.options)


class TestIvf(TestFlat):
    options = {"type": "ivf", "params": {"nlist": 8, "nprobe": 8}}

    def test_names_from_anywhere(self):
        """Skip the inherited test, which does not depend on the index type."""

    def test_refuses_what_makes_no_sense(self):
        """Skip the inherited test, which does not depend on the index type."""

    @pytest.fixture(autouse=True)
    def _indexed(self, monkeypatch):
        monkeypatch.setattr(searching, "SCANNED", 0)
        monkeypatch.setenv(
            "PGOPTIONS", "-c enable_seqscan=off"
        )  # otherwise PostgreSQL compares so few rows one by one


class TestHnsw(TestIvf):
    options = {"type": "hnsw", "params": {"ef": 1000}}


def test_equal_codes_lose_nothing(postgres, tmp_path):
    """HNSW links many copies of a code only to each other; searches are then exact and report it."""
    codes = np.zeros((3000, 8), np.uint8)
    codes[-50:] = random_codes(50)
    found = build(postgres, written(tmp_path / "c.h5", codes), "equal", type="hnsw")
    assert "2950 images share one code" in found.reason
    assert found.info()["exact"] == found.reason
    distances, ids = found.kneighbors(codes[-20:], 60)
    expected = hamming.top_k(codes[-20:], codes, 60)
    np.testing.assert_array_equal(ids, expected.ids)
    np.testing.assert_array_equal(distances, expected.distances)
    assert found.remove(Filter(ids=range(2940))) == 2940
    assert "exact" not in found.info()


def test_more_matches_than_an_index_scans(postgres, tmp_path, monkeypatch):
    """HNSW scans end early; the remaining rows are compared exactly."""
    monkeypatch.setattr(searching, "SCANNED", 0)
    monkeypatch.setenv("PGOPTIONS", "-c hnsw.max_scan_tuples=50")
    codes = random_codes(1000)
    found = build(postgres, written(tmp_path / "c.h5", codes), "many", type="hnsw", params={"ef": 40})
    for k in (400, 2000):
        distances, ids = found.kneighbors(codes[:2], k)
        expected = hamming.top_k(codes[:2], codes, k)
        np.testing.assert_array_equal(ids, expected.ids)
        np.testing.assert_array_equal(distances, expected.distances)


@pytest.mark.parametrize(
    "options",
    [{"type": "hnsw", "params": {"M": 16, "ef": 200}}, {"type": "ivf", "params": {"nlist": 16, "nprobe": 8}}],
)
def test_an_index_finds_most_and_ties_in_order(postgres, tmp_path, monkeypatch, options):
    monkeypatch.setattr(searching, "SCANNED", 0)
    rng = np.random.default_rng(0)
    codes = random_codes(100)[rng.integers(0, 100, 6000)] ^ np.packbits(rng.random((6000, 64)) < 0.08, axis=1)
    codes[::50] = codes[7]  # 120 ties, more than k
    codes = codes[: None if options["type"] == "ivf" else 3500]  # 70 of them: fewer than would be exact
    found = build(postgres, written(tmp_path / "c.h5", codes), options["type"], **options)
    assert not found.reason
    distances, ids = found.kneighbors(codes[:40], 10)
    expected = hamming.top_k(codes[:40], codes, 10)
    assert (distances == expected.distances).mean() > 0.9
    np.testing.assert_array_equal(ids[7], expected.ids[7])
    assert found.search(codes[:2], 10, where=Filter(globs="3/*")).ids.tolist() == [
        *(id for query in codes[:2] for id in first(query, codes, 10, lambda row: row % 7 == 3))
    ]
    with pytest.raises(BackendError, match="no_such"):
        found.search(codes[:1], 10, params={"no_such": 1})


def first(query, codes, k, passes):
    rows = np.array([row for row in range(len(codes)) if passes(row)])
    return rows[hamming.top_k(query[None], codes[rows], k).ids[0]].tolist()


def test_patterns_are_those_of_a_folder(postgres, tmp_path):
    """Patterns match the same rows in PostgreSQL and in the client."""
    names = ["a/1.png", "b/a/1.png", "b/x_y.png", "b/xzy.png", "100%/a.png", "c\\d/e.png", "new\nline.png", "é/ü.png"]
    rows = [name.encode() for name in names] + [b"no \xff utf/8.png", "\U0010ff61/z.png".encode(), b"[x]/q.png"]
    file = written(tmp_path / "c.h5", random_codes(len(rows)), rows)
    more = written(tmp_path / "d.h5", random_codes(2), [b"a/9.png", b"b/a/9.png"], root=b"/elsewhere")
    here = transhash.build_index(file, tmp_path / "folder.index")
    there = build(postgres, file, "patterns")
    patterns = ["a/*", "*.png", "1.png", "/pictures/b/*", "*/a/*", "b/x_y*", "b/x?y*", "*%*", "*\\*", "new*", "é/*"]
    patterns += ["[ab]/*", "*\U0010ff61*", os.fsdecode(b"no \xff*"), "*e*", "/*/a/*", "[[]x]/*", "a*", "?.png", "no*"]
    for files in ([], [more]):
        assert [here.add(one) for one in files] == [there.add(one) for one in files]
        for pattern in patterns:
            assert outcome(here, pattern) == outcome(there, pattern), pattern


def outcome(index, pattern):
    try:
        return index.matching(Filter(globs=pattern), 100)
    except SelectionError:
        return None


def test_the_commands_work_as_with_folders(postgres, th, tmp_path):
    codes = np.random.default_rng(0).integers(0, 4, (24, 8), dtype=np.uint8)
    names = [f"{row % 3}/{row}.png".encode() for row in range(24)]
    written(tmp_path / "c.h5", codes, names, labels=np.arange(24) % 3)
    transhash.build_index(tmp_path / "c.h5", tmp_path / "folder.index")
    location = postgres.location("photos")
    built = th("index", "build", "c.h5", "-o", location, cwd=tmp_path)
    assert f"wrote {location}: postgres flat, 24 codes of 64 bits" in built.stderr
    asked = ["c.h5", "-k", 5, "--radius", 20, "--glob", "[12]/*", "--label", "b", "--json"]
    here, found = (th("query", at, *asked, cwd=tmp_path) for at in ("folder.index", location))
    assert json.loads(found.stdout)["queries"] == json.loads(here.stdout)["queries"]
    assert transhash.open(location).remove([Filter(globs=["2/*"])]) == 8
    synced = th("index", "sync", location, "c.h5", cwd=tmp_path)
    assert synced.stderr.endswith(": 8 images added, 0 removed, 0 changed; 24 now\n")
    assert transhash.open(location).info()["next_id"] == 32
    assert "hunter" not in th("index", "info", location, cwd=tmp_path).stdout


def test_round_trip_of_codes(postgres, tmp_path):
    """A table returns the rows that were stored, including file sizes and times."""
    records = Records([b"a.png", b"b/c.png"], b"/x", None, (), np.array([5, -1]), np.array([-1, 7 << 60]))
    write_codes(tmp_path / "c.h5", Codes(random_codes(2), records, MODEL))
    ids, codes = build(postgres, tmp_path / "c.h5", "back").snapshot()
    assert ids.tolist() == [0, 1]
    assert list(codes.records.paths) == records.paths
    assert (codes.records.root, codes.records.labels) == (b"/x", None)
    np.testing.assert_array_equal(codes.packed, random_codes(2))
    np.testing.assert_array_equal(codes.records.sizes, records.sizes)
    np.testing.assert_array_equal(codes.records.mtimes, records.mtimes)


def test_near_duplicates_are_those_of_a_folder(postgres, pictures, tmp_path):
    file = tmp_path / "c.h5"
    transhash.encode_to_file(pictures, file, "phash")
    folder, table = transhash.build_index(file, tmp_path / "folder.index"), build(postgres, file, "dedup")
    for index in (folder, table):
        index.remove(Filter(ids=[0, 5]))
    here, there = (transhash.dedup(index, 12) for index in (folder, table.location))
    assert len(here)
    assert [(one.ids.tolist(), one.paths, one.roles) for one in here] == [
        (one.ids.tolist(), one.paths, one.roles) for one in there
    ]


@pytest.mark.parametrize(
    "name", ['pho"to; DROP TABLE x; --', "日本", "it's", "%s {0} $1", "a.b", "transhash", "SELECT"]
)
def test_names_of_collections(postgres, tmp_path, name):
    codes = random_codes(5)
    made = build(postgres, written(tmp_path / "c.h5", codes), name)
    made.add(written(tmp_path / "d.h5", codes, [b"x%d" % row for row in range(5)]))
    again = transhash.open(made.location)
    assert again.search(codes[:1], 2).ids.tolist() == [0, 5]
    assert list(again.verify()) == []
    assert postgres.run("SELECT count(*) FROM transhash_collections WHERE name = %s", [name]) == [(1,)]


@pytest.mark.parametrize("name", ["transhash_collections", "x" * 64, "a%00b", "%ff"])
def test_invalid_table_names(postgres, name):
    with pytest.raises(BackendError, match="collection"):
        transhash.open(postgres.location(name))


def test_foreign_tables_are_not_changed(postgres, tmp_path):
    postgres.run("CREATE TABLE theirs (id int)")
    codes = written(tmp_path / "c.h5", np.zeros((3, 8), np.uint8))
    with pytest.raises(BackendError, match="exists, and is not a collection of TransHash, so it was not changed"):
        build(postgres, codes, "theirs")
    assert postgres.run("SELECT count(*) FROM theirs") == [(0,)]
    with pytest.raises(BackendError, match="no such collection"):
        transhash.open(postgres.location("theirs"))
    ours = build(postgres, codes, "ours")
    assert len(build(postgres, codes, "ours")) == 3
    with pytest.raises(BackendError, match=r"exists already, built from another file than .*d.h5"):
        build(postgres, written(tmp_path / "d.h5", np.ones((3, 8), np.uint8)), "ours")
    with pytest.raises(MismatchError, match="other"):
        build(
            postgres, written(tmp_path / "e.h5", np.ones((3, 8), np.uint8), model=ModelRef("other", "f", 64)), "ours"
        )
    with pytest.raises(BackendError, match="as type flat"):
        build(postgres, codes, "ours", type="ivf")
    with pytest.raises(BackendError, match="M=1: pgvector takes 2 to 100"):
        build(postgres, codes, "new", type="hnsw", params={"M": 1})
    assert len(ours) == 3


def test_several_files_are_added_atomically(postgres, tmp_path):
    names = [[b"%d-%d" % (file, row) for row in range(4)] for file in range(3)]
    files = [written(tmp_path / f"{place}.h5", random_codes(4), own) for place, own in enumerate(names)]
    made = build(postgres, files[0], "together")
    with pytest.raises(SelectionError, match=r"2.h5: /pictures/2-0 and 3 more are in the collection already"):
        made.add([files[1], files[2], files[2]])
    assert len(made) == 4
    assert made.add(files[1:]).rows == 8
    assert made.add([files[2]], replace=True) == transhash.index.rows.Added(4, 4)
    assert made.info()["next_id"] == 16


def test_changes_are_atomic_for_readers(postgres, tmp_path):
    files = [written(tmp_path / f"{value}.h5", np.full((500, 8), value, np.uint8)) for value in (0, 255)]
    made = build(postgres, files[0], "all_or_nothing")
    writer = Thread(target=lambda: [made.sync(file) for _ in range(4) for file in reversed(files)])
    writer.start()
    reader, seen = transhash.open(made.location), []
    while writer.is_alive():
        seen.append(reader.search(np.zeros((1, 8), np.uint8), 1000).distances.tolist())
    writer.join()
    assert all(distances in ([0] * 500, [64] * 500) for distances in seen)
    assert list(made.verify()) == []


def attempt(postgres, tmp_path, step):
    """The next change as (function, arguments), and the row counts before and after it."""
    name = f"killed{step}"
    if step % 3 == 0:
        return (transhash.build_index, (tmp_path / "many.h5", postgres.location(name))), (None, 3_000)
    made = build(postgres, tmp_path / "few.h5", name)
    change = made.add if step % 3 == 1 else made.sync
    return (change, (tmp_path / "many.h5",)), (100, 3_100 if step % 3 == 1 else 3_000)


def test_killed_loaders_and_servers_neither_lose_nor_duplicate_rows(postgres, tmp_path):
    """After SIGKILL of the loader or the server at 12 moments, each change is applied completely or not at all."""
    context = multiprocessing.get_context("fork")
    written(tmp_path / "few.h5", random_codes(100, 1), [b"few-%d" % row for row in range(100)])
    codes = random_codes(3_000)
    written(tmp_path / "many.h5", codes)
    stopped = 0
    for step in range(12):
        (change, arguments), counts = attempt(postgres, tmp_path, step)
        kill = postgres.kill if step % 4 == 3 else kill_this_process
        loader = context.Process(target=until_killed, args=(step + 2, kill, change, *arguments))
        loader.start()
        loader.join()
        if step % 4 == 3:
            postgres.kill()
            postgres.start()
        found = rows(postgres, f"killed{step}")
        assert found in counts
        stopped += found == counts[0]
        if found == counts[0]:
            change(*arguments)
        assert rows(postgres, f"killed{step}") == counts[1]
        made = transhash.open(postgres.location(f"killed{step}"))
        assert list(made.verify()) == []
        sample = np.arange(0, len(codes), 299)
        assert made.search(codes[sample], 1).distances.tolist() == [0] * len(sample)
    assert stopped > 6


def kill_this_process():
    os.kill(os.getpid(), signal.SIGKILL)


def until_killed(moment, kill, change, *arguments):
    """Apply changes in a separate process, and kill it or the server before a statement or a part of its data."""
    from psycopg import Copy

    from postgres_backend.server import Cursor

    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    calls = itertools.count(1)

    def counted(run):
        def call(*values, **options):
            if next(calls) == moment:
                kill()
            return run(*values, **options)

        return call

    for owner, name in ((Cursor, "execute"), (Copy, "write")):
        setattr(owner, name, counted(getattr(owner, name)))
    try:
        change(*arguments)
    finally:
        os._exit(0)  # skip the exit handlers of the parent


def rows(postgres, name):
    from psycopg import errors, sql

    try:
        return postgres.run(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name)))[0][0]
    except errors.UndefinedTable:
        return None


def test_a_lost_connection_is_reestablished(postgres, tmp_path):
    made = build(postgres, written(tmp_path / "c.h5", random_codes(3)), "lost")
    postgres.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'transhash'")
    assert len(made) == 3
    postgres.kill()
    with pytest.raises(BackendError, match=r"^postgresql://\S+: cannot connect \(connection to server"):
        len(made)
    postgres.start()
    assert len(made) == 3


def test_time_outs_and_other_writers(postgres, tmp_path, monkeypatch):
    file = written(tmp_path / "c.h5", random_codes(20))
    location = build(postgres, file, "busy").location
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=50ms")
    with closing(postgres.connect()) as other, other.transaction():
        other.execute("SELECT 1 FROM transhash_collections WHERE name = 'busy' FOR UPDATE")
        with pytest.raises(BackendError, match="another process is changing the collection; run the command again"):
            transhash.open(location).sync(file)
        assert len(transhash.open(location)) == 20
    monkeypatch.setenv("PGOPTIONS", "-c statement_timeout=50ms")
    with closing(postgres.connect()) as other, other.transaction():
        other.execute("LOCK TABLE transhash_collections")
        with pytest.raises(BackendError, match="stopped the statement; nothing was changed") as stopped:
            build(postgres, file, "never")
    assert "\n" not in str(stopped.value)


def test_a_full_disk_changes_nothing(postgres, tmp_path, monkeypatch):
    """A limit on temporary files stands in for a full disk; PostgreSQL rolls the change back."""
    made = build(postgres, written(tmp_path / "c.h5", random_codes(20)), "full")
    monkeypatch.setenv("PGOPTIONS", "-c temp_file_limit=0 -c work_mem=64kB")
    many = written(tmp_path / "d.h5", random_codes(20_000))
    with pytest.raises(BackendError, match="temporary file size exceeds"):
        transhash.open(made.location).sync(many)
    assert len(made) == 20


def test_a_role_that_may_only_read(postgres, tmp_path, monkeypatch):
    file = written(tmp_path / "c.h5", random_codes(20))
    build(postgres, file, "shown")
    postgres.run("CREATE ROLE reader LOGIN PASSWORD 'reader-s3cret'")
    postgres.run("GRANT SELECT ON transhash_collections, shown TO reader")
    monkeypatch.setenv("PGPASSWORD", "reader-s3cret")
    found = transhash.open(postgres.location("shown", "reader"))
    assert found.search(random_codes(20)[:1], 1, where=Filter(globs="0/*")).ids.tolist() == [0]
    assert list(found.verify()) == []
    with pytest.raises(BackendError, match="permission denied for table transhash_collections"):
        found.add(file)
    with pytest.raises(BackendError, match="permission denied"):
        transhash.build_index(file, postgres.location("another", "reader"))


def test_a_role_that_may_change_one_collection(postgres, tmp_path, monkeypatch):
    """A role with the privileges in docs/postgres.md."""
    file = written(tmp_path / "c.h5", random_codes(20))
    build(postgres, file, "changed")
    postgres.run("CREATE ROLE writer LOGIN PASSWORD 'writer-s3cret'")
    postgres.run("GRANT SELECT, UPDATE (root, next_id, source, most_equal) ON transhash_collections TO writer")
    postgres.run("GRANT SELECT, INSERT, DELETE ON changed TO writer")
    monkeypatch.setenv("PGPASSWORD", "writer-s3cret")
    there = transhash.open(postgres.location("changed", "writer"))
    assert there.remove(Filter(ids=[3, 4])) == 2
    assert there.sync(file) == transhash.index.rows.Changes(2, 0, 0)
    assert there.add(file, replace=True) == transhash.index.rows.Added(20, 20)


def test_columns_of_others(postgres, tmp_path):
    """Columns, indexes and views that the owner of the database added are kept and do not prevent changes."""
    file = written(tmp_path / "c.h5", random_codes(20))
    made = build(postgres, file, "extended")
    postgres.run("ALTER TABLE extended ADD note text, ADD seen timestamptz NOT NULL DEFAULT now()")
    postgres.run("CREATE VIEW notes AS SELECT id, note FROM extended")
    postgres.run("UPDATE extended SET note = 'x' WHERE id < 10")
    postgres.run("DELETE FROM extended WHERE id >= 15")
    assert made.sync(file) == transhash.index.rows.Changes(5, 0, 0)
    assert made.add(written(tmp_path / "d.h5", random_codes(1), [b"new"])).rows == 1
    assert list(made.verify()) == []
    assert postgres.run("SELECT count(note), count(seen), max(id) FROM extended") == [(10, 21, 25)]


def test_a_table_that_was_dropped(postgres, tmp_path):
    """A catalog row without a table is not a collection."""
    file = written(tmp_path / "c.h5", random_codes(3))
    made = build(postgres, file, "dropped")
    postgres.run("DROP TABLE dropped")
    for attempt in (made.info, lambda: made.sync(file), lambda: transhash.open(made.location)):
        with pytest.raises(BackendError, match="no such collection"):
            attempt()
    assert len(build(postgres, written(tmp_path / "d.h5", random_codes(5)), "dropped")) == 5


def test_plain_sql(postgres, tmp_path):
    codes = random_codes(50)
    build(postgres, written(tmp_path / "c.h5", codes, labels=np.arange(50) % 3), "plain")
    bits = "".join(f"{byte:08b}" for byte in codes[7])
    nearest = "SELECT id, path, labels FROM plain ORDER BY code <~> %s::bit(64), id LIMIT 1"
    assert postgres.run(nearest, [bits]) == [(7, "/pictures/0/7.png", ["b"])]
    assert postgres.run("SELECT count(*) FROM plain WHERE labels @> ARRAY['b']") == [(17,)]
    assert postgres.run("SELECT model, bits, next_id FROM transhash_collections WHERE name = 'plain'") == [
        ("phash", 64, 50)
    ]


@pytest.fixture
def database(postgres):
    postgres.run("CREATE DATABASE other")
    postgres.run("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    yield lambda name: postgres.location("photos").replace("/postgres/", f"/{name}/")
    postgres.run("DROP DATABASE other WITH (FORCE)")
    postgres.run("DROP DATABASE latin WITH (FORCE)")


def test_pgvector_and_tables_in_other_schemas(postgres, database, tmp_path, monkeypatch):
    import psycopg

    codes = random_codes(30)
    file, location = written(tmp_path / "c.h5", codes), database("other")
    address = location.removesuffix("/photos")
    with psycopg.connect(address, autocommit=True) as connection:
        for statement in ("CREATE SCHEMA ext", "CREATE EXTENSION vector SCHEMA ext", 'CREATE SCHEMA "my photos"'):
            connection.execute(statement)
    chosen = location + "?options=-csearch_path%3D%22my%5C%20photos%22"
    made = transhash.build_index(file, chosen, type="hnsw")
    assert made.kneighbors(codes[:1], 1)[1].tolist() == [[0]]
    assert transhash.open(chosen).sync(file).added == 0
    with pytest.raises(BackendError, match="no such collection"):
        transhash.open(location)
    with pytest.raises(BackendError, match="the database has the encoding LATIN1; create one with ENCODING 'UTF8'"):
        transhash.build_index(file, database("latin"))


@pytest.mark.parametrize("words", [("index", "info"), ("query",), ("index", "verify"), ("dedup",)])
def test_credentials_are_never_shown(postgres, th, tmp_path, monkeypatch, words):
    more = [written(tmp_path / "q.h5", random_codes(1))] if words == ("query",) else []
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    refused = th(*words, postgres.location("photos"), *more, code=1)
    assert "refuses the credentials; libpq takes them from PGUSER and PGPASSWORD, ~/.pgpass" in refused.stderr
    monkeypatch.delenv("PGPASSWORD")
    for place in ("postgresql://owner:hunter2@127.0.0.1/d/n", "postgres://h/d/n?password=hunter2&sslmode=x"):
        done = th(*words, place, *more, code=1)
        assert "the location contains a password that others can see" in done.stderr
        for output in (done.stderr, done.stdout, refused.stderr):
            assert "hunter2" not in output
            assert output.count("\n") <= 1
    assert PASSWORD.encode() not in postgres.log.read_bytes()


@pytest.mark.parametrize("options", ["service=none", "sslmode=none", "sslmode=require"])
def test_what_prevents_a_connection_is_said(postgres, options):
    with pytest.raises(BackendError, match=r"cannot connect \(.*(\"none\"|does not support SSL)"):
        transhash.open(postgres.location("photos") + f"?{options}")
