import csv
import io
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transhash.errors import SourceError
from transhash.sources import Skipped
from transhash.sources.labels import labels_of
from transhash.sources.lists import FilesSource, ListSource

FIXTURE = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def listed(folder, text, name="list.txt", **how):
    (folder / name).write_bytes(text)
    source = ListSource(folder, folder / name, **how)
    rows = [(item.path, item.labels) for item in source.entries()]
    assert [path for path, _ in rows] == [item.path for item in source]
    assert source.count() == len(rows)
    return rows


def test_sizes_and_times_are_those_of_the_files(tmp_path):
    (tmp_path / "a.png").write_bytes(b"12345")
    (tmp_path / "list.txt").write_bytes(b"a.png\ngone.png\nno\0name.png\n")
    first, *others = ListSource(tmp_path, tmp_path / "list.txt")
    assert (first.size, first.mtime) == (5, os.stat(tmp_path / "a.png").st_mtime_ns)
    assert others == [
        Skipped(b"gone.png", "No such file or directory"),
        Skipped(b"no\0name.png", "a path with a null byte"),
    ]


NAMES = st.binary(min_size=1, max_size=12).filter(lambda name: b"\0" not in name)


@FIXTURE
@given(st.lists(NAMES, min_size=1, max_size=20))
def test_every_name_fits_between_nul_bytes(tmp_path, names):
    expected = [os.path.normpath(name) for name in names]
    assert [path for path, _ in listed(tmp_path, b"\0".join(names) + b"\0", null=True)] == expected
    assert [path for path, _ in listed(tmp_path, b"\0\0".join(names), null=True)] == expected


def test_nul_bytes_end_any_kind_of_list(tmp_path):
    assert listed(tmp_path, b"a/1.png 0 1\0\xef\xbb\xbfb\r\0", null=True) == [
        (b"a/1.png 0 1", ("a",)),
        (b"\xef\xbb\xbfb\r", ()),
    ]
    assert listed(tmp_path, b"a,b\0c/d,e", "list.csv", null=True) == [(b"a,b", ()), (b"c/d,e", ("c",))]


CELLS = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=8)


@pytest.mark.slow
@FIXTURE
@given(
    st.lists(st.tuples(CELLS.filter(str.strip), st.lists(CELLS, max_size=3)), min_size=1, max_size=10), st.booleans()
)
def test_tables_as_the_csv_module_writes_them(tmp_path, rows, header):
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        text = io.StringIO()
        write = csv.writer(text, delimiter=delimiter).writerow
        if header or rows[0][0] == "path":
            write(["path", "label"])
        for path, labels in rows:
            write([path, *labels])
        found = listed(tmp_path, text.getvalue().encode(), f"list{suffix}")
        assert found == [(os.path.normpath(path.encode()), labels_of(labels)) for path, labels in rows]


def test_tables_by_hand(tmp_path):
    text = (
        b'\xef\xbb\xbfpath,label,label2\r\n"a,1.png",cat,\r\n\r\nb/\xff.png, dog ,"my ""cat"""\r\n./c.png\npath,d,d'
    )
    assert listed(tmp_path, text, "List.CSV") == [
        (b"a,1.png", ("cat",)),
        (b"b/\xff.png", ("dog", 'my "cat"')),
        (b"c.png", ()),
        (b"path", ("d",)),
    ]
    assert listed(tmp_path, b"a.png\tl\xff\tl\\xff\n", "list.tsv") == [(b"a.png", ("l\\xff", "l\\x5cxff"))]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("list.txt", b"", "lists no paths; write one per line"),
        ("list.txt", b" \n\t\r\n", "lists no paths"),
        ("list.csv", b"path,label\n", "lists no paths"),
        ("list.csv", b'a.png,x\n\nb.png,"y\n', "line 3: unexpected end of data"),
        ("list.csv", b"a.png,x\n,y\n", "line 2: no path in the first cell"),
        ("list.csv", b"a.png," + b"x" * 5000, "line 1: a label of 5000 bytes"),
        ("list.txt", b"a.png\n" + b"x" * 70_000 + b"\n", "line 2: longer than 65,536 bytes"),
        ("list.txt", b"a.png\n" + b"x" * 700_000, "line 2: longer than 65,536 bytes"),
    ],
)
def test_broken_lists(tmp_path, name, text, message):
    with pytest.raises(SourceError, match=message) as caught:
        listed(tmp_path, text, name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_lists(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place, message in (
        (tmp_path / "pipe", "not a regular file; name a text file"),
        ("/dev/zero", "not a regular file"),
        (tmp_path, "a folder; name a text file"),
        (tmp_path / "nowhere", "No such file"),
    ):
        with pytest.raises(SourceError, match=message):
            ListSource(tmp_path, place)


def test_a_sparse_file_of_a_terabyte_is_refused_at_once(tmp_path):
    with open(tmp_path / "list.txt", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(SourceError, match="longer than"):
        ListSource(tmp_path, tmp_path / "list.txt")


def test_a_list_that_changes_while_it_is_read(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"a 0 1\n" * 3)
    source = ListSource(tmp_path, tmp_path / "list.txt")
    (tmp_path / "list.txt").write_bytes(b"a 0 1\nb 0\n")
    with pytest.raises(SourceError, match="line 2: changed while it was read"):
        list(source)
    (tmp_path / "list.txt").unlink()
    with pytest.raises(SourceError, match="No such file"):
        list(source)


@pytest.mark.parametrize("text", [b"x/a.png\nb.png", b"x/a.png\0b.png\0", b"a.png 0 1\nb.png 1 1"])
def test_standard_input_can_be_read_again(text, tmp_path, monkeypatch):
    (tmp_path / "classes.txt").write_text("of\nanother\nlist\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    source = ListSource(tmp_path, "-", null=b"\0" in text)
    spool = source._names
    assert source.count() == 2
    rows = list(source)
    assert [item.path for item in rows] == ([b"x/a.png", b"b.png"] if b"x" in text else [b"a.png", b"b.png"])
    assert list(zip(source, source, strict=True)) == list(zip(rows, rows, strict=True))
    assert "standard input" in source.description
    del source
    assert not spool.exists()


@pytest.mark.slow
def test_standard_input_may_be_empty_or_closed(tmp_path):
    code = "from transhash.sources.lists import ListSource; ListSource('.', '-')"
    for how in ({"stdin": subprocess.DEVNULL}, {"preexec_fn": lambda: os.close(0)}):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, **how)
        assert "SourceError: standard input: " in done.stderr


def test_files(tmp_path):
    (tmp_path / "a.png").write_bytes(b"1")
    source = FilesSource([tmp_path / "a.png", "b.png"])
    assert [item.path for item in source] == [os.fsencode(tmp_path / "a.png"), b"b.png"]
    assert (source.root, source.count(), source.description) == (b"", 2, "2 images")
    assert [item.size for item in FilesSource(["a.png"], tmp_path)] == [1]


@pytest.mark.parametrize("kind", ["plain", "multi-hot", "csv"])
def test_memory_does_not_grow_with_the_list(kind, peak, tmp_path):
    path = tmp_path / ("list.csv" if kind == "csv" else "list.txt")
    tail = {"plain": "", "multi-hot": " 0 1 1", "csv": ",cat"}[kind]
    code = """
        import sys
        from transhash.sources.lists import ListSource
        assert sum(1 for _ in ListSource("/nowhere", sys.argv[1])) == int(sys.argv[2])
    """
    peaks = []
    for count in (2_000, 30_000):
        with open(path, "w") as file:
            file.writelines(
                f"folder {number % 100}/a rather long name of an image {number}.jpg{tail}\n"
                for number in range(count)
            )
        peaks.append(peak(code, path, count))
    assert peaks[1] - peaks[0] < 2_000_000


def test_lists(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"a/1.jpg\n\n./b/2.jpg\r\nc\xff.jpg\n")
    source = ListSource(tmp_path, tmp_path / "list.txt")
    assert [(image.path, image.labels) for image in source.entries()] == [
        (b"a/1.jpg", ("a",)),
        (b"b/2.jpg", ("b",)),
        (b"c\xff.jpg", ()),
    ]
    (tmp_path / "list.txt").write_bytes(b"\n")
    with pytest.raises(SourceError, match="lists no paths"):
        ListSource(tmp_path, tmp_path / "list.txt")


def entries(folder, text):
    (folder / "list.txt").write_bytes(text)
    source = ListSource(folder, folder / "list.txt")
    return [(image.path, image.labels) for image in source.entries()]


def test_lists_with_a_column_for_every_class(tmp_path):
    text = b"\xef\xbb\xbfb/my photo \xff.jpg 0 1 1\n\n/data/x.jpg\t0 0\t0 \r\n./b/1 0.jpg 1 0 0\nb/2.jpg 1 0 0"
    assert entries(tmp_path, text) == [
        (b"b/my photo \xff.jpg", ("1", "2")),
        (b"/data/x.jpg", ()),
        (b"b/1 0.jpg", ("0",)),
        (b"b/2.jpg", ("0",)),
    ]
    (tmp_path / "classes.txt").write_text("\ufeffcat\n\nmaus für alle\nsea lion\n", encoding="utf-8")
    assert entries(tmp_path, text)[0] == (b"b/my photo \xff.jpg", ("maus für alle", "sea lion"))


@pytest.mark.parametrize(
    "text",
    [
        b"a/1.jpg 0\na/2.jpg 1\n",  # a single column is more likely part of the name
        b"a/1.jpg 0 1\na/2.jpg 1\n",
        b"a/1.jpg 0 1\na/2.jpg 1 0 1\n",
        b"a/1.jpg 0 1\na/2.jpg\n",
        b"a/1.jpg 0 2\n",
        b"a/1.jpg 0,1\n",
    ],
)
def test_any_other_list_is_one_of_paths(text, tmp_path):
    (tmp_path / "classes.txt").write_text("of\nsomething else\nentirely\nand\nmore")
    assert entries(tmp_path, text) == [(line, ("a",)) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (b"one\n", "1 classes, but list.txt has 2 columns"),
        (b"a\nb\nc\n", "3 classes"),
        (b"a\n\xff\n", "UTF-8"),
        (b"a\na\n", "'a' occurs twice"),
    ],
)
def test_classes_must_go_with_the_list(classes, message, tmp_path):
    (tmp_path / "classes.txt").write_bytes(classes)
    with pytest.raises(SourceError, match=message) as caught:
        entries(tmp_path, b"a.jpg 0 1\n")
    assert str(tmp_path / "classes.txt") in str(caught.value)


_PATHS = st.from_regex(rb"[a-z\xff][a-z0-9 /\xff]{0,20}\.jpg", fullmatch=True)


@pytest.mark.slow
@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(2, 9).flatmap(
        lambda width: st.lists(
            st.tuples(_PATHS, st.lists(st.booleans(), min_size=width, max_size=width)), min_size=1, max_size=20
        )
    )
)
def test_every_column_becomes_a_label(tmp_path, rows):
    text = b"\n".join(path + b"".join(b" %d" % bit for bit in bits) for path, bits in rows)
    assert entries(tmp_path, text) == [
        (os.path.normpath(path), tuple(str(place) for place, bit in enumerate(bits) if bit)) for path, bits in rows
    ]
