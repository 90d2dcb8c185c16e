"""Editing an index: its contents, what readers see, and failed edits."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash import Codes, hamming
from transhash.codes import ModelRef, Records
from transhash.errors import BackendError, IndexFolderError, MismatchError, SelectionError
from transhash.index import filters, manifest
from transhash.index.local import LocalIndex

MODEL = ModelRef("phash", "digest-a", 16)
NAMES = ("red", "green", "blue")


def codes_of(rows, root=b"/photos", model=MODEL):
    """Codes from triples (path, code, label); a label is an index into NAMES, or -1."""
    packed = np.array([[code >> 8, code & 255] for _, code, _ in rows], np.uint8).reshape(-1, 2)
    labels = np.array([label for _, _, label in rows], np.int32)
    names = NAMES if (labels >= 0).any() else ()
    return Codes(packed, Records([path for path, _, _ in rows], root, labels if names else None, names), model)


def described(index):
    """The contents of an index: {id: (full path, code, labels)}."""
    ids = index.ids.of(np.arange(len(index)))
    packed = index.codes().packed.astype(int)
    return {
        id: (os.fsencode(index.path(id)), (high << 8) + low, index.labels(id))
        for id, (high, low) in zip(ids.tolist(), packed.tolist(), strict=True)
    }


ROWS = st.lists(
    st.tuples(st.integers(0, 12).map(b"%d.jpg".__mod__), st.integers(0, 2**16 - 1), st.integers(-1, 2)),
    max_size=6,
    unique_by=lambda row: row[0],
)
ROOTS = st.sampled_from([b"/photos", b"/photos", b"/other"])
EDITS = st.lists(
    st.tuples(st.sampled_from(["add", "replace", "sync", "merge", "save"]), ROWS, ROOTS)
    | st.tuples(st.just("remove"), st.sets(st.integers(0, 12)), ROOTS),
    max_size=6,
)


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "kind"), [("exact", None), ("faiss", "flat"), ("faiss", "ivf")])
@settings(max_examples=40, deadline=None)  # the first one imports FAISS
@given(first=ROWS.filter(len), edits=EDITS)
def test_edits_equal_those_of_a_dict(backend, kind, first, edits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("edited") / "i"
    index = LocalIndex.build(codes_of(first), backend, kind)
    plain = {id: (b"/photos/" + path, code, label) for id, (path, code, label) in enumerate(first)}
    following = len(first)
    for name, values, root in edits:
        if name == "save":
            index.save(folder)
            index = LocalIndex.open(folder)
            continue
        if name == "remove":
            gone = {id for id, (path, _, _) in plain.items() if int(path.split(b"/")[-1][:-4]) in values}
            mask = np.isin(index.ids.of(np.arange(len(index))), list(gone))
            if gone == plain.keys():
                with pytest.raises(SelectionError, match="every row"):
                    index.remove(mask)
                continue
            index.remove(mask)
            new = {}
        else:
            new = {root + b"/" + path: (code, label) for path, code, label in values}
            there = {path: (id, code, label) for id, (path, code, label) in plain.items()}
            codes = codes_of(values, root)
            gone = {there[path][0] for path in new if path in there}
            if name == "sync":
                if not values:
                    with pytest.raises(MismatchError, match="no codes"):
                        index.sync(codes)
                    continue
                same = {path for path in new if path in there and there[path][1:] == new[path]}
                changed = len(gone) - len(same)
                gone = {id for id, (path, _, _) in plain.items() if path not in same}
                new = {path: row for path, row in new.items() if path not in same}
                done = index.sync(codes)
                assert (done.added, done.removed, done.changed) == (len(new) - changed, len(gone) - changed, changed)
            elif name == "merge":
                if not values:
                    continue
                index.merge([LocalIndex.build(codes)], replace=True)
            elif name == "replace" or not gone:
                ids = index.add(codes, replace=name == "replace")
                assert ids.tolist() == list(range(following, following + len(new)))
            else:
                with pytest.raises(SelectionError, match="in the index already"):
                    index.add(codes)
                continue
        plain = {id: row for id, row in plain.items() if id not in gone}
        for path, row in new.items():
            plain[following] = (path, *row)
            following += 1
    found = described(index)
    assert found == {
        id: (path, code, NAMES[label : label + 1] if label >= 0 else ()) for id, (path, code, label) in plain.items()
    }
    assert list(found) == list(plain)
    packed = index.codes().packed
    params = {"nprobe": 1000} if kind == "ivf" else {}
    near, expected = index.search(packed, 5, params), hamming.top_k(packed, packed, 5)
    np.testing.assert_array_equal(near.distances, expected.distances)
    np.testing.assert_array_equal(near.ids, index.ids.of(expected.ids))


def numbered(start, stop):
    return codes_of([(b"%d.jpg" % number, number * 257 % 65536, -1) for number in range(start, stop)])


@pytest.fixture
def folder(tmp_path):
    LocalIndex.build(numbered(0, 50)).save(tmp_path / "photos.index")
    return tmp_path / "photos.index"


def test_ids_survive_on_disk_and_are_never_given_again(folder):
    with LocalIndex.edit(folder) as index:
        index.remove(filters.ids(index, [3, 48, 49]))
    with LocalIndex.edit(folder) as index:
        assert index.add(numbered(50, 52)).tolist() == [50, 51]
    index = LocalIndex.open(folder)
    assert len(index) == 49
    assert os.fsencode(index.path(47)) == b"/photos/47.jpg"
    assert os.fsencode(index.path(50)) == b"/photos/50.jpg"
    assert index.search(numbered(47, 48), 1).ids.tolist() == [[47]]
    assert index.range_search(numbered(50, 51), 0).ids.tolist() == [50]
    for gone in (3, 49, 52, -1):
        with pytest.raises(SelectionError, match=f"id {gone}: not in the index"):
            index.path(gone)
        with pytest.raises(SelectionError, match=f"id {gone}: not in the index"):
            index.labels(gone)


def test_the_example_of_the_format_reads_them(folder, monkeypatch):
    with LocalIndex.edit(folder) as index:
        index.remove(np.arange(50) % 7 < 3)
        index.add(numbered(60, 62))
    text = (Path(__file__).parents[2] / "docs" / "index-format.md").read_text(encoding="utf-8")
    monkeypatch.chdir(folder.parent)
    scope: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], scope)
    np.testing.assert_array_equal(scope["ids"], index.ids.of(np.arange(len(index))))


def test_version_0_opens_and_can_be_edited(folder):
    document = json.loads((folder / manifest.NAME).read_text()) | {"version": 0}
    del document["next_id"]
    (folder / manifest.NAME).write_text(json.dumps(document))
    with LocalIndex.edit(folder) as index:
        index.remove(filters.ids(index, [0]))
    assert json.loads((folder / manifest.NAME).read_text())["version"] == 1
    assert os.fsencode(LocalIndex.open(folder).path(49)) == b"/photos/49.jpg"


def test_an_edit_that_fails_leaves_the_folder(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="the user's"), LocalIndex.edit(folder) as index:
        index.remove(filters.ids(index, [1]))
        raise ValueError("the user's")
    with pytest.raises(SelectionError), LocalIndex.edit(folder) as index:
        index.remove(filters.ids(index, [1]))
        index.add(numbered(0, 1))
    with pytest.raises(MismatchError), LocalIndex.edit(folder) as index:
        index.add(codes_of([(b"x", 1, -1)], model=ModelRef("phash", "other", 16)))
    with LocalIndex.edit(folder) as index:
        pass
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert len(list(folder.glob("[!.]*"))) == 2


def test_what_a_type_cannot_do_is_refused_before_anything_is_written(tmp_path):
    LocalIndex.build(numbered(0, 50), type="hnsw").save(tmp_path / "i")
    before = (tmp_path / "i" / manifest.NAME).read_bytes()
    with pytest.raises(BackendError), LocalIndex.edit(tmp_path / "i") as index:
        try:
            index.add(numbered(49, 51), replace=True)
        finally:
            assert len(index) == len(index.records) == len(index.ids) == 50
    assert (tmp_path / "i" / manifest.NAME).read_bytes() == before
    with LocalIndex.edit(tmp_path / "i") as index:
        index.add(numbered(50, 51))
    assert len(LocalIndex.open(tmp_path / "i")) == 51


def test_tuning_is_an_edit(tmp_path):
    LocalIndex.build(numbered(0, 50), type="ivf", params={"nlist": 5}).save(tmp_path / "i")
    with LocalIndex.edit(tmp_path / "i") as index:
        index.backend.tune(4)
    assert manifest.read(tmp_path / "i").info["nprobe"] == 4


def test_a_mapped_index_answers_and_is_not_changed(folder):
    index = LocalIndex.open(folder, mmap=True)
    assert index.search(numbered(7, 8), 1).ids.tolist() == [[7]]
    for change in (lambda: index.add(numbered(50, 51)), lambda: index.remove(filters.ids(index, [7]))):
        with pytest.raises(BackendError, match="mmap"):
            change()
        assert len(index) == len(index.records) == len(index.ids) == 50


def test_only_an_index_is_edited(tmp_path):
    with pytest.raises(IndexFolderError, match="not an index folder"), LocalIndex.edit(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_labels_of_both_are_joined():
    index = LocalIndex.build(codes_of([(b"a", 1, 2), (b"b", 2, -1)]))
    several = Records([b"c", b"d"], b"/photos", np.array([[0, 1], [1, -1]], np.int32), ("blue", "new"))
    index.add(Codes(np.zeros((2, 2), np.uint8), several, MODEL))
    index.add(codes_of([(b"e", 5, -1)]))
    assert [index.labels(id) for id in range(5)] == [("blue",), (), ("blue", "new"), ("new",), ()]
    assert index.records.label_names == (*NAMES, "new")


def test_merging_needs_one_model():
    one, other = (
        LocalIndex.build(numbered(0, 3)),
        LocalIndex.build(codes_of([(b"x", 1, -1)], model=ModelRef("m", "other", 16))),
    )
    with pytest.raises(MismatchError, match="cannot be compared"):
        one.merge([LocalIndex.build(numbered(3, 5)), other])
    assert len(one) == 3


def test_a_reader_that_was_there_before_still_answers(folder):
    reader = LocalIndex.open(folder)
    with LocalIndex.edit(folder) as index:
        index.remove(filters.globs(index, ["1*.jpg"]))
    assert len(list(folder.glob("[!.]*"))) == 2
    assert os.fsencode(reader.path(int(reader.search(numbered(17, 18), 1).ids[0, 0]))) == b"/photos/17.jpg"
    assert [os.fsencode(path) for path in map(reader.path, range(50))] == [b"/photos/%d.jpg" % n for n in range(50)]


READER = """
import sys
from transhash.index.local import LocalIndex
from transhash.codes import open_codes
sizes = set()
while len(sizes) < 10:
    index = LocalIndex.open(sys.argv[1])
    found = index.search(index.codes().packed[-1:], 1)
    assert index.path(found.ids[0, 0]).endswith(f"/{found.ids[0, 0]}.jpg"), index.path(found.ids[0, 0])
    sizes.add(len(index))
"""


@pytest.mark.slow
def test_readers_beside_a_writer_see_the_old_or_the_new(forks, folder):
    """The path of a row determines its id, so an index read from two states would be detected."""
    readers = [forks.start(READER, folder, pipes=["stderr"]) for _ in range(2)]
    number = 50
    while any(reader.poll() is None for reader in readers):
        with LocalIndex.edit(folder) as index:
            index.add(numbered(number, number + 1))
            if number % 3 == 0:
                index.remove(filters.ids(index, [number // 3 - 16]))
        number += 1
        time.sleep(0.01)
    for reader in readers:
        errors = reader.communicate()[1]
        assert not errors, errors
        assert reader.returncode == 0


ADDER = """
import sys, time
import numpy as np
from transhash import Codes
from transhash.codes import ModelRef, Records
from transhash.errors import OutputError
from transhash.index.local import LocalIndex
records, model = Records([sys.argv[2].encode()], b"/photos"), ModelRef("phash", "digest-a", 16)
codes = Codes(np.zeros((1, 2), np.uint8), records, model)
while True:
    try:
        with LocalIndex.edit(sys.argv[1]) as index:
            index.add(codes)
        break
    except OutputError as error:
        assert "another process is writing it" in str(error), error
        time.sleep(0.01)
"""


@pytest.mark.slow
def test_no_edit_is_lost_among_several_writers(forks, folder):
    running = [forks.start(ADDER, folder, f"new {number}", pipes=["stderr"]) for number in range(4)]
    for process in running:
        assert process.communicate()[1] == ""
    index = LocalIndex.open(folder)
    assert sorted(map(index.path, range(50, 54))) == [f"/photos/new {number}" for number in range(4)]
    assert len(list(folder.glob("[!.]*"))) == 2


@pytest.mark.slow
def test_kill_during_an_edit_leaves_the_old_index(forks, folder):
    code = f"""
import os, signal
from transhash.index.local import LocalIndex
from transhash.index import filters, manifest
manifest.files.replacing = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
with LocalIndex.edit({str(folder)!r}) as index:
    index.remove(filters.ids(index, [7]))
"""
    assert forks.run(code).returncode == -9
    assert len(LocalIndex.open(folder)) == 50
    with LocalIndex.edit(folder) as index:
        index.add(numbered(60, 61))
    assert len(list(folder.glob("[!.]*"))) == 2


def edit_manifest(folder, **changes):
    path = folder / manifest.NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "changes",
    [{"next_id": 49}, {"next_id": 48}, {"next_id": 2**63}, {"next_id": "x"}, {"next_id": None}, {"version": 3}],
)
def test_damaged_ids_give_one_line(folder, changes):
    with LocalIndex.edit(folder) as index:
        index.remove(filters.ids(index, [7]))
    edit_manifest(folder, **changes)
    with pytest.raises(IndexFolderError) as caught:
        LocalIndex.open(folder)
    assert "\n" not in str(caught.value)


def test_ids_that_are_missing(folder):
    with LocalIndex.edit(folder) as index:
        index.remove(filters.ids(index, [7]))
    stored = json.loads((folder / manifest.NAME).read_text())["files"]
    edit_manifest(folder, files={name: file for name, file in stored.items() if name != "ids.safetensors"})
    with pytest.raises(IndexFolderError, match=r"names no ids\.safetensors"):
        LocalIndex.open(folder)
