import csv
import io
import os
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import transhash
from transhash.codes import CodesWriter, ModelRef, merge, open_codes, read_codes, verify_codes
from transhash.codes.exchange import export_codes, import_table, open_table
from transhash.errors import CodesError, OutputError
from transhash.packing import unpack

from .rows import MODEL, Kind, kinds, many, read, rows, seen, write


def digest(path):
    with open_codes(path, trusted=True) as file:
        return file.header.digest


@pytest.mark.slow
@settings(deadline=None, max_examples=12)
@given(st.lists(rows, max_size=12), kinds)
def test_parquet_keeps_everything(tmp_path_factory, some, kind):
    folder = tmp_path_factory.mktemp("codes")
    assert export_codes(write(folder / "c.h5", some, kind), folder / "c.parquet") == len(some)
    table = open_table(folder / "c.parquet")
    assert (table.model, table.root, table.count, table.bits) == (MODEL, b"/root \xff", len(some), 64)
    assert import_table(table, folder / "again.h5", table.model, table.root) == len(some)
    assert digest(folder / "again.h5") == digest(folder / "c.h5")


@pytest.mark.slow
@settings(deadline=None, max_examples=12)
@given(st.lists(rows, min_size=1, max_size=12), kinds)
def test_csv_keeps_all_but_embeddings(tmp_path_factory, some, kind):
    folder = tmp_path_factory.mktemp("codes")
    kind = replace(kind, embeddings=0)
    assert export_codes(write(folder / "c.h5", some, kind), folder / "c.csv") == len(some)
    table = open_table(folder / "c.csv")
    assert import_table(table, folder / "again.h5", MODEL, b"/root \xff") == len(some)
    assert digest(folder / "again.h5") == digest(folder / "c.h5")


@pytest.mark.slow
@settings(deadline=None, max_examples=12)
@given(st.lists(rows, max_size=12))
def test_arrays_keep_the_codes(tmp_path_factory, some):
    folder = tmp_path_factory.mktemp("codes")
    write(folder / "c.h5", some, Kind(3, 0, False))
    assert export_codes(folder / "c.h5", folder / "c.npy") == len(some)
    array = np.load(folder / "c.npy")
    np.testing.assert_array_equal(array, read_codes(folder / "c.h5", trusted=True).packed)
    listed = [(row.path, row.labels) for row in some]
    np.save(folder / "signs.npy", unpack(array).astype(np.float32))
    np.save(folder / "fortran.npy", np.asfortranarray(array))
    for name in ("c.npy", "signs.npy", "fortran.npy"):
        import_table(open_table(folder / name, 64, listed), folder / "again.h5", MODEL, b"/root \xff")
        assert digest(folder / "again.h5") == digest(folder / "c.h5")


NAME = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5)
TABLE_ROW = st.tuples(
    st.binary(min_size=8, max_size=8),
    st.binary(min_size=1, max_size=12).filter(lambda path: b"\0" not in path),
    st.lists(NAME.filter(lambda name: "\0" not in name), max_size=3, unique=True),
    st.integers(-1, 2**63 - 1),
    st.integers(-(2**63), 2**63 - 1),
)


@pytest.mark.slow
@settings(deadline=None, max_examples=25)
@given(table=st.lists(TABLE_ROW, min_size=1, max_size=6))
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_every_row_survives_export_and_import(tmp_path_factory, suffix, table):
    folder = tmp_path_factory.mktemp("round")
    packed = np.frombuffer(b"".join(row[0] for row in table), np.uint8).reshape(-1, 8)
    most = max(len(row[2]) for row in table)
    stats = {"sizes": np.array([row[3] for row in table]), "mtimes": np.array([row[4] for row in table])}
    with CodesWriter.create(folder / "c.h5", MODEL, b"/root", labels=most, stats=True) as writer:
        writer.append(packed, [row[1] for row in table], [tuple(row[2]) for row in table], **stats)
    export_codes(folder / "c.h5", folder / f"c{suffix}")
    if suffix == ".csv":
        header = next(iter(io.BytesIO((folder / "c.csv").read_bytes())))
        assert header.startswith(b"id,path,")
        assert header.endswith(b"\n")
        assert not header.endswith(b"\r\n")
    import_table(open_table(folder / f"c{suffix}"), folder / "again.h5", MODEL, b"/root")
    assert verify_codes(folder / "again.h5").digest == verify_codes(folder / "c.h5").digest


@pytest.mark.slow
def test_blocks_and_reports(tmp_path):
    """More rows than one block."""
    kind = Kind(3, 0, True)
    path = write(tmp_path / "c.h5", many(300), kind)
    merge([(path, None)] * 60, tmp_path / "many.h5", trusted=True)
    reports = []

    def report(*rows):
        reports.append(rows)

    for suffix in ("csv", "npy", "parquet"):
        export_codes(tmp_path / "many.h5", tmp_path / f"c.{suffix}", report)
        table = open_table(tmp_path / f"c.{suffix}")
        import_table(table, tmp_path / "again.h5", MODEL, b"/root \xff", report)
        assert reports == [(16384, 18000), (18000, 18000), (16384, table.count), (18000, table.count)]
        reports.clear()
        assert table.count == (0 if suffix == "csv" else 18000)
        assert (digest(tmp_path / "again.h5") == digest(tmp_path / "many.h5")) == (suffix != "npy")
        np.testing.assert_array_equal(
            read_codes(tmp_path / "again.h5").packed, read_codes(tmp_path / "many.h5").packed
        )


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.float16, ">f8"])
def test_signs_of_any_type(tmp_path, dtype):
    signs = np.random.default_rng(0).integers(0, 2, (20, 16)) * 2 - 1
    np.save(tmp_path / "signs.npy", (signs > 0) if dtype is bool else signs.astype(dtype))
    import_table(open_table(tmp_path / "signs.npy"), tmp_path / "c.h5", ModelRef("m", "m", 16))
    codes = read_codes(tmp_path / "c.h5")
    np.testing.assert_array_equal(unpack(codes.packed), signs)
    assert list(codes.records.paths) == [b"%d" % row for row in range(20)]
    verify_codes(tmp_path / "c.h5")


def test_ambiguous_zeros_and_ones_need_the_length(tmp_path):
    ones = np.random.default_rng(0).integers(0, 2, (5, 16), dtype=np.uint8)
    np.save(tmp_path / "ones.npy", ones)
    with pytest.raises(CodesError, match="--bits"):
        open_table(tmp_path / "ones.npy")
    assert next(open_table(tmp_path / "ones.npy", 16).blocks).packed.tolist() == np.packbits(ones, axis=1).tolist()
    assert next(open_table(tmp_path / "ones.npy", 128).blocks).packed.tolist() == ones.tolist()
    with pytest.raises(CodesError, match="not codes of 64 bits"):
        open_table(tmp_path / "ones.npy", 64)


def test_paths_that_are_no_text_make_a_binary_column(tmp_path):
    for name, kind in ((b"\xff.jpg", pa.binary()), ("é.jpg".encode(), pa.string())):
        write(tmp_path / "c.h5", [replace(many(1)[0], path=name)])
        export_codes(tmp_path / "c.h5", tmp_path / "c.parquet")
        schema = pyarrow.parquet.read_schema(tmp_path / "c.parquet")
        assert schema.field("path").type == kind
        assert schema.field("labels").type == pa.list_(pa.string())
        assert schema.field("code").type == pa.binary(8)
        assert schema.field("embedding").type == pa.list_(pa.float16(), 3)


def test_unknown_sizes_are_null(tmp_path):
    write(tmp_path / "c.h5", [replace(many(1)[0], size=-1)])
    export_codes(tmp_path / "c.h5", tmp_path / "c.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "c.parquet")["size"].to_pylist() == [None]
    export_codes(tmp_path / "c.h5", tmp_path / "c.csv")
    with open(tmp_path / "c.csv", newline="") as file:
        header, row = csv.reader(file)
    assert header == ["id", "path", "label1", "label2", "label3", "code", "size", "mtime"]
    assert row == ["0", "class 0/0.jpg", "class 0", "", "", many(1)[0].code.hex(), "", str(many(1)[0].mtime)]


def test_empty_labels_are_no_matter_for_csv(tmp_path):
    path = write(tmp_path / "c.h5", [replace(many(1)[0], labels=("",))])
    with pytest.raises(CodesError, match=r"export \.parquet"):
        export_codes(path, tmp_path / "c.csv")
    assert os.listdir(tmp_path) == ["c.h5"]
    export_codes(path, tmp_path / "c.parquet")
    import_table(open_table(tmp_path / "c.parquet"), tmp_path / "again.h5", MODEL, b"/root \xff")
    assert digest(tmp_path / "again.h5") == digest(path)


@pytest.mark.parametrize("suffix", ["csv", "npy", "parquet"])
def test_exports_replace_exports_alone(tmp_path, suffix):
    path, target = write(tmp_path / "c.h5", many(3)), tmp_path / f"c.{suffix}"
    for _ in range(2):
        export_codes(path, target)
    foreign = {"csv": b"name,size\na,b\n", "npy": b"my own", "parquet": b"PAR1 of mine PAR1"}[suffix]
    target.write_bytes(foreign)
    with pytest.raises(OutputError, match="not an earlier export"):
        export_codes(path, target)
    assert target.read_bytes() == foreign
    target.unlink()
    target.mkdir()
    with pytest.raises(OutputError, match="not an earlier export"):
        export_codes(path, target)


def test_arrays_of_others_are_not_replaced(tmp_path):
    np.save(tmp_path / "c.npy", np.zeros((3, 512), np.float32))
    with pytest.raises(OutputError, match="not an earlier export"):
        export_codes(write(tmp_path / "c.h5", many(3)), tmp_path / "c.npy")
    pyarrow.parquet.write_table(pa.table({"path": ["a"]}), tmp_path / "c.parquet")
    with pytest.raises(OutputError, match="not an earlier export"):
        export_codes(tmp_path / "c.h5", tmp_path / "c.parquet")


def _csv(text):
    return "c.csv", lambda path: path.write_text(text)


def _npy(array):
    return "c.npy", lambda path: np.save(path, array, allow_pickle=True)


def _parquet(**columns):
    return "c.parquet", lambda path: pyarrow.parquet.write_table(pa.table(columns), path)


CODE = pa.array([b"ab", b"cd"], pa.binary(2))
BAD = {
    "empty csv": _csv(""),
    "csv without rows": _csv("path,code\n"),
    "csv of another kind": _csv("name,size\na,12\n"),
    "csv without codes": _csv("path,label\na,b\n"),
    "csv with gaps in labels": _csv("path,label1,label3,code\na,b,c,00\n"),
    "no hexadecimal": _csv("path,code\na,0g\n"),
    "half a byte": _csv("path,code\na,000\n"),
    "blanks in a code": _csv("path,code\na,0000\nb,00 0\n"),
    "codes of two widths": _csv("path,code\na,00\nb,0000\n"),
    "missing cell": _csv("path,label,code\na,b,00\nc,00\n"),
    "too wide": _csv("path,code\na," + "00" * 129 + "\n"),
    "open quote": _csv('path,code\n"a,00\n'),
    "size no number": _csv("path,code,size,mtime\na,00,big,0\n"),
    "size too large": _csv("path,code,size,mtime\na,00,99999999999999999999,0\n"),
    "path too long": _csv("path,code\n" + "a" * 4097 + ",00\n"),
    "parquet path too long": _parquet(path=["a", "b" * 4097], code=CODE),
    "cell too long": _csv("path,code\n" + "a" * 140000 + ",00\n"),
    "no array": ("c.npy", lambda path: path.write_bytes(b"\x93NUMPY nothing")),
    "empty array file": ("c.npy", lambda path: path.write_bytes(b"")),
    "objects": _npy(np.array([[1, "a"]], dtype=object)),
    "strings": _npy(np.array([["a", "b"]])),
    "complex": _npy(np.zeros((2, 8), complex)),
    "one axis": _npy(np.zeros(8, bool)),
    "no width of a code": _npy(np.zeros((2, 9), bool)),
    "much too wide": _npy(np.full((2, 129), 7, np.uint8)),
    "not a number": _npy(np.full((2, 8), np.nan)),
    "archive": ("c.npy", lambda path: path.write_bytes(b"PK\x03\x04")),
    "truncated array": ("c.npy", lambda path: path.write_bytes(_saved(path)[:-9])),
    "no parquet": ("c.parquet", lambda path: path.write_bytes(b"PAR1 nothing PAR1")),
    "parquet without codes": _parquet(path=["a", "b"]),
    "codes of text": _parquet(path=["a", "b"], code=["ab", "cd"]),
    "paths of numbers": _parquet(path=[1, 2], code=CODE),
    "path missing": _parquet(path=["a", None], code=CODE),
    "code missing": _parquet(path=["a", "b"], code=pa.array([b"ab", None], pa.binary(2))),
    "labels of numbers": _parquet(path=["a", "b"], code=CODE, labels=[[1], []]),
    "label missing": _parquet(path=["a", "b"], code=CODE, labels=[["x", None], []]),
    "labels no list": _parquet(path=["a", "b"], code=CODE, labels=["x", "y"]),
    "embedding no list": _parquet(path=["a", "b"], code=CODE, embedding=[1.0, 2.0]),
    "embedding missing": _parquet(
        path=["a", "b"], code=CODE, embedding=pa.array([[1.0, 2.0], None], pa.list_(pa.float16(), 2))
    ),
    "sizes of text": _parquet(path=["a", "b"], code=CODE, size=["1", "2"], mtime=["1", "2"]),
}


def _saved(path):
    np.save(path, np.zeros((4, 8), np.uint8))
    return path.read_bytes()


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_table_gives_one_line(tmp_path, case):
    name, make = BAD[case]
    make(tmp_path / name)
    with pytest.raises(CodesError) as caught:
        table = open_table(tmp_path / name)
        import_table(table, tmp_path / "out.h5", ModelRef("m", "m", table.bits))
    assert "\n" not in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)
    assert os.listdir(tmp_path) == [name]


def test_lists_must_have_a_line_for_each(tmp_path):
    np.save(tmp_path / "c.npy", np.full((3, 8), 7, np.uint8))
    for listed, message in ([(b"a", ())], "list has 1 path;"), ([(b"a", ())] * 4, "list has more paths"):
        with pytest.raises(CodesError, match=message):
            import_table(open_table(tmp_path / "c.npy", rows=listed), tmp_path / "c.h5", MODEL)
    assert os.listdir(tmp_path) == ["c.npy"]


def test_models_of_another_width_are_refused(tmp_path):
    np.save(tmp_path / "c.npy", np.full((3, 2), 7, np.uint8))
    with pytest.raises(CodesError, match="16 bits, but phash makes 64"):
        import_table(open_table(tmp_path / "c.npy"), tmp_path / "c.h5", MODEL)


def test_other_names_are_refused(tmp_path):
    path = write(tmp_path / "c.h5", many(1))
    for attempt in (lambda: export_codes(path, tmp_path / "c.txt"), lambda: open_table(tmp_path / "c.h5")):
        with pytest.raises(CodesError, match=r"\.csv, \.npy, \.parquet"):
            attempt()


def test_csv_that_a_spreadsheet_saved(tmp_path):
    """With a byte order mark and line endings of a single character."""
    (tmp_path / "c.csv").write_bytes("\ufeffpath,label,code\né.jpg,x,00ff\n".encode())
    import_table(open_table(tmp_path / "c.csv"), tmp_path / "c.h5", ModelRef("m", "m", 16))
    (row,) = read(tmp_path / "c.h5")
    assert (row.path, row.labels, row.code) == ("é.jpg".encode(), ("x",), b"\x00\xff")
    assert seen([row], Kind(3, 0, False))[0].labels == ("x",)


@pytest.mark.parametrize("suffix", [".csv", ".npy", ".parquet"])
def test_a_missing_file_is_not_imported(tmp_path, suffix):
    with pytest.raises(CodesError, match=f"none{suffix}: no such file$"):
        transhash.import_codes(tmp_path / f"none{suffix}", tmp_path / "codes.h5", model="m")


def test_the_message_for_an_image_named_csv_shows_nothing_of_it(tmp_path):
    path = tmp_path / "image.csv"
    path.write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF" + bytes(range(256)))
    with pytest.raises(CodesError, match="line 1: not text: expected path, label, code") as refused:
        open_table(path)
    assert str(refused.value).isprintable()
