"""Exports for databases, loaded and searched by those databases that run in-process."""

import json
import sqlite3

import numpy as np
import pytest

from transhash import hamming
from transhash.codes import Codes, ModelRef, Records, read_codes, write_codes
from transhash.codes.exchange import export_codes, import_table, open_table
from transhash.errors import CodesError, OutputError

BITS = [64, 72, 128]


def codes_of(bits, count=300):
    rng = np.random.default_rng(bits)
    packed = rng.integers(0, 256, (count, bits // 8), dtype=np.uint8)
    packed[::7] = packed[0]
    paths = [b"a/%d.png" % row for row in range(count - 1)] + [b"no \xff utf-8"]
    labels = np.array([[0, 1] if row % 3 else [-1, -1] for row in range(count)], np.int32)
    records = Records(paths, b"/pictures", labels, ("cat", 'it\'s "d"'))
    return Codes(packed, records, ModelRef("phash", "digest", bits))


@pytest.fixture(params=BITS)
def exported(request, tmp_path):
    codes = codes_of(request.param)
    write_codes(tmp_path / "c.h5", codes)
    return codes, tmp_path / "c.h5"


def nearest(codes, query, k=10):
    found = hamming.top_k(codes.packed[query : query + 1], codes.packed, k)
    return list(zip(found.ids[0].tolist(), found.distances[0].tolist(), strict=True))


@pytest.mark.slow
def test_duckdb(exported, tmp_path):
    duckdb = pytest.importorskip("duckdb")
    codes, file = exported
    assert export_codes(file, tmp_path / "c.parquet", database="duckdb") == len(codes)
    words = [f"word{place}" for place in range(-(-codes.model.bits // 64))]
    distance = " + ".join(f"bit_count(xor(c.{word}, q.{word}))" for word in words)
    with duckdb.connect() as database:
        database.execute(f"CREATE VIEW codes AS SELECT * FROM '{tmp_path}/c.parquet'")
        found = database.execute(
            f"SELECT c.id, {distance} AS d FROM codes c, codes q WHERE q.id = 7 ORDER BY d, c.id LIMIT 10"
        ).fetchall()
    assert found == nearest(codes, 7)
    import_table(open_table(tmp_path / "c.parquet"), tmp_path / "back.h5", codes.model, b"/pictures")
    np.testing.assert_array_equal(read_codes(tmp_path / "back.h5").packed, codes.packed)


def test_sqlite_vec(exported, tmp_path):
    apsw, sqlite_vec = pytest.importorskip("apsw"), pytest.importorskip("sqlite_vec")
    codes, file = exported
    for _ in range(2):  # an earlier export is replaced
        assert export_codes(file, tmp_path / "photos.db") == len(codes)
    database = apsw.Connection(str(tmp_path / "photos.db"))
    database.enable_load_extension(True)
    database.load_extension(sqlite_vec.loadable_path())
    near = "vec_distance_hamming(vec_bit(i.code), vec_bit(q.code))"
    exact = f"SELECT i.id, {near} d FROM images i, images q WHERE q.id = 7 ORDER BY d, i.id LIMIT 10"
    assert [(id, int(distance)) for id, distance in database.execute(exact)] == nearest(codes, 7)
    database.execute(f"CREATE VIRTUAL TABLE codes USING vec0(code bit[{codes.model.bits}])")
    database.execute("INSERT INTO codes (rowid, code) SELECT id, vec_bit(code) FROM images")
    asked = "SELECT distance FROM codes WHERE code MATCH vec_bit(?) AND k = 10"
    distances = [int(distance) for (distance,) in database.execute(asked, [codes.packed[7].tobytes()])]
    assert sorted(distances) == [distance for _, distance in nearest(codes, 7)]
    database.close()


def test_sqlite(exported, tmp_path):
    codes, file = exported
    export_codes(file, tmp_path / "photos.db")
    database = sqlite3.connect(tmp_path / "photos.db")
    rows = database.execute("SELECT path, labels, code FROM images ORDER BY id").fetchall()
    assert [code for _, _, code in rows] == [code.tobytes() for code in codes.packed]
    assert rows[1][:2] == ("a/1.png", '["cat", "it\'s \\"d\\""]')
    assert rows[-1][0] == "no \U0010ffff utf-8"
    assert database.execute("SELECT name, digest, bits, root FROM model").fetchall() == [
        ("phash", "digest", codes.model.bits, "/pictures")
    ]
    database.close()
    other = tmp_path / "other.db"
    other.write_bytes(b"SQLite format 3\0" + bytes(100))
    with pytest.raises(OutputError, match="not an earlier export"):
        export_codes(file, other)


@pytest.mark.parametrize("engine", ["elasticsearch", "opensearch", "vespa"])
def test_ndjson(exported, tmp_path, engine):
    codes, file = exported
    for _ in range(2):
        assert export_codes(file, tmp_path / "bulk.ndjson", database=engine) == len(codes)
    lines = [json.loads(line) for line in (tmp_path / "bulk.ndjson").read_text().splitlines()]
    if engine == "vespa":
        assert [line["put"] for line in lines] == [f"id:transhash:image::{row}" for row in range(len(codes))]
        fields = [line["fields"] for line in lines]
        packed = [bytes.fromhex(one["code"]["values"]) for one in fields]
    else:
        assert lines[::2] == [{"index": {"_id": str(row)}} for row in range(len(codes))]
        fields = lines[1::2]
        packed = [
            bytes.fromhex(one["code"]) if engine == "elasticsearch" else np.array(one["code"], np.int8).tobytes()
            for one in fields
        ]
    assert packed == [code.tobytes() for code in codes.packed]
    assert fields[1]["path"] == "/pictures/a/1.png"
    assert fields[1]["labels"] == ["cat", 'it\'s "d"']


def test_what_a_database_does_not_take(exported, tmp_path):
    _, file = exported
    for name, database in (("c.ndjson", None), ("c.ndjson", "duckdb"), ("c.parquet", "vespa"), ("c.db", "duckdb")):
        with pytest.raises(CodesError, match="database"):
            export_codes(file, tmp_path / name, database=database)
        assert not (tmp_path / name).exists()


def test_arrays_of_sentence_transformers(tmp_path):
    """The precisions ``binary`` (int8, offset by 128) and ``ubinary`` (uint8); int8 signs remain signs."""
    outputs = np.random.default_rng(0).standard_normal((50, 128))
    packed = np.packbits(outputs > 0, axis=1)
    arrays = {
        "binary": (packed.astype(np.int16) - 128).astype(np.int8),
        "ubinary": packed,
        "signs": np.where(outputs > 0, 1, -1).astype(np.int8),
        "floats": outputs.astype(np.float32),
    }
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
        table = open_table(tmp_path / f"{name}.npy")
        assert table.bits == 128
        np.testing.assert_array_equal(np.concatenate([block.packed for block in table.blocks]), packed)
