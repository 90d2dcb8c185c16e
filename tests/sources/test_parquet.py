import json
import os
from pathlib import Path

import numpy as np
import pytest

from transhash.errors import ImageError
from transhash.sources import Item, Skipped, decode, parquet
from transhash.sources.isolated import IsolatedSource

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def write(path, columns, **how):
    pq.write_table(pa.table(columns), path, **how)
    return os.fspath(path)


def rows(path):
    """The rows of a file, read in this process."""
    return list(parquet.rows(path, b"t.parquet"))


def test_images_as_bytes(tmp_path, png):
    path = write(
        tmp_path / "t.parquet", {"image": [png(0), None, b"words", b"", png(4)], "label": [3, 1, None, -1, 0]}
    )
    found = rows(path)
    assert found == [
        Item(b"t.parquet/0", ("3",)),
        Skipped(b"t.parquet/1", "no image: null"),
        Item(b"t.parquet/2"),
        Item(b"t.parquet/3", ("-1",)),
        Item(b"t.parquet/4", ("0",)),
    ]
    assert [found[place].data for place in (0, 2, 3, 4)] == [png(0), b"words", b"", png(4)]
    assert parquet.count(path) == 5
    for place, reason in ((2, "not an image"), (3, "empty")):
        with pytest.raises(ImageError, match=reason):
            decode.open_item(b"", found[place])


def test_the_structs_of_hugging_face(tmp_path, png):
    features = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
    table = pa.table(
        {
            "image": [
                {"bytes": png(0), "path": "x.png"},
                {"bytes": None, "path": "d/y.png"},
                None,
                {"bytes": None, "path": None},
            ],
            "label": [1, 0, 0, -1],
        }
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, tmp_path / "t.parquet")
    assert rows(tmp_path / "t.parquet") == [
        Item(b"t.parquet/0", ("dog",)),
        Item(b"d/y.png", ("cat",)),
        Skipped(b"t.parquet/2", "no image: null"),
        Skipped(b"t.parquet/3", "no image: null"),
    ]
    assert [item.data for item in rows(tmp_path / "t.parquet")[:2]] == [png(0), None]


@pytest.mark.parametrize("note", [b"{", b"[]", b"[" * 100_000, b'{"info": {"features": {"label": null}}}', b"\xff"])
def test_metadata_without_class_names(note, tmp_path, png):
    pq.write_table(
        pa.table({"image": [png(0)], "label": [1]}).replace_schema_metadata({"huggingface": note}), tmp_path / "t"
    )
    assert rows(tmp_path / "t") == [Item(b"t.parquet/0", ("1",))]


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (["cat", "", None], [("cat",), (), ()]),
        ([[1, 2], [], None], [("1", "2"), (), ()]),
        ([["b", "a", "b"], [""], ["c"]], [("b", "a"), (), ("c",)]),
        (pa.array(["x", "y", "x"]).dictionary_encode(), [("x",), ("y",), ("x",)]),
        (pa.array([b"\xff", b"\\xff", b"a"]).view(pa.string()), [("\\xff",), ("\\x5cxff",), ("a",)]),
        ([True, False, None], [("True",), ("False",), ()]),
        (pa.array([["a"], ["b"], None], pa.large_list(pa.large_string())), [("a",), ("b",), ()]),
    ],
)
@pytest.mark.parametrize("name", ["label", "labels"])
def test_labels(name, values, labels, tmp_path, png):
    path = write(tmp_path / "t.parquet", {"image": [png(0)] * 3, name: values})
    assert [item.labels for item in rows(path)] == labels


@pytest.mark.slow
def test_paths(tmp_path, png):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "1.png").write_bytes(png(1))
    names = pa.array([b"1.png", b"../2 \xff.png", b"/far/3.png", b"", None, b"p" * 40_000]).view(pa.string())
    write(tmp_path / "data" / "t.parquet", {"file_name": names})
    write(tmp_path / "s.parquet", {"image": [png(5), None], "path": ["name", "data/1.png"]})
    source = IsolatedSource("parquet", [tmp_path / "data" / "t.parquet", tmp_path / "s.parquet"])
    assert source.root == os.fsencode(tmp_path)
    status = os.stat(tmp_path / "data" / "1.png")
    found = list(source)
    assert found == [
        Item(b"data/1.png", (), None, status.st_size, status.st_mtime_ns),
        Skipped(b"2 \xff.png", "No such file or directory"),
        Skipped(b"/far/3.png", "No such file or directory"),
        Skipped(b"data/t.parquet/3", "no image: null"),
        Skipped(b"data/t.parquet/4", "no image: null"),
        Skipped(b"data/t.parquet/5", "path too long: 40000 bytes"),
        Item(b"name"),
        Item(b"data/1.png", (), None, status.st_size, status.st_mtime_ns),
    ]
    assert [getattr(item, "data", None) for item in found[-2:]] == [png(5), None]
    assert np.asarray(decode.open_item(source.root, found[0]))[0, 0, 0] == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"x": [1], "y": [2]}, "no column image or img or path or file_name, but x, y; rename that of the images"),
        ({"image": [1.5]}, "column image: double"),
        ({"image": [{"path": "x"}]}, "column image: struct<path: string>"),
        ({"image": [b""], "label": [1.5]}, "column label: double"),
        ({"path": [1]}, "column path: int64"),
    ],
)
def test_tables_without_images(columns, reason, tmp_path):
    source = IsolatedSource("parquet", [write(tmp_path / "t.parquet", columns)])
    (only,) = source
    assert only.path == b"t.parquet"
    assert only.reason.startswith(reason)
    assert source.count() == 1


def test_cells_that_are_too_much(tmp_path, png, monkeypatch):
    monkeypatch.setattr(parquet, "MAX_ENCODED", 1000)
    path = write(
        tmp_path / "t.parquet", {"image": [bytes(1001), png(1), png(2)], "label": [["a"], ["x" * 9000], ["b"]]}
    )
    first, second, third = rows(path)
    assert first.reason.startswith("too large: 1001 bytes")
    assert second.reason.startswith("no labels: a label of 9000 bytes")
    assert third == Item(b"t.parquet/2", ("b",))


@pytest.mark.slow
def test_damaged_files(tmp_path, png):
    whole = Path(write(tmp_path / "t.parquet", {"image": [png(n) for n in range(50)]})).read_bytes()
    rng = np.random.default_rng(0)
    for number in range(6):
        mutant = bytearray(whole[: len(whole) // 2] if number == 0 else whole)
        for place in rng.integers(0, len(mutant), 4):
            mutant[place] = rng.integers(256)
        (tmp_path / f"{number}.parquet").write_bytes(mutant)
    first, *others = IsolatedSource("parquet", sorted(tmp_path.glob("?.parquet")))
    assert first.path == b"0.parquet"
    assert "Parquet" in first.reason
    for item in others:
        assert isinstance(item, Item) or "\n" not in item.reason


def test_memory_does_not_grow_with_the_file(peak, tmp_path):
    """Memory depends neither on the number of rows nor on the size of row groups; measured in the reading process."""
    code = """
        import sys
        from transhash.sources import parquet
        print(sum(1 for _ in parquet.rows(sys.argv[1], b"")))
    """
    rng = np.random.default_rng(0)
    peaks = []
    for count in (500, 2000):
        data = [rng.bytes(40_000) for _ in range(count)]
        write(
            tmp_path / "t.parquet", {"image": data}, row_group_size=count, use_dictionary=False, write_batch_size=16
        )
        peaks.append(peak(code, tmp_path / "t.parquet"))
    assert peaks[1] - peaks[0] < 20_000_000


def test_declared_images_and_class_numbers_without_a_name(tmp_path, png):
    """A text column named image does not hide the declared one; -1 in a list is no label; 7 of 2 stays."""
    classes = [{"names": ["ape", "bee"], "_type": "ClassLabel"}]
    features = {"image": {"_type": "Value"}, "img": {"_type": "Image"}, "labels": classes}
    columns = {"image": ["a", "b", "c"], "img": [png(0)] * 3, "labels": [[0, 1], [-1], [7]]}
    table = pa.table(columns).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, tmp_path / "t.parquet")
    assert [item.labels for item in rows(tmp_path / "t.parquet")] == [("ape", "bee"), (), ("7",)]
