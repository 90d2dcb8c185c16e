import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash import Codes
from transhash.codes import ModelRef, Records, read_codes, write_codes
from transhash.errors import BackendError, CodesError, IndexFolderError, MismatchError, OutputError, TransHashError
from transhash.index import manifest
from transhash.index.local import LocalIndex, build

MODEL = ModelRef("phash", "digest-a", 64)


def some_codes(count=50, model=MODEL):
    codes = np.random.default_rng(count).integers(0, 256, (count, model.bits // 8), dtype=np.uint8)
    paths = [b"photo \xff %d.jpg" % number for number in range(count)]
    labels = np.arange(count, dtype=np.int32) % 2
    return Codes(codes, Records(paths, b"/photos", labels, ("cat", "dog")), model)


@pytest.fixture
def folder(tmp_path):
    LocalIndex.build(some_codes()).save(tmp_path / "photos.index")
    return tmp_path / "photos.index"


@pytest.mark.parametrize("backend", ["exact", "faiss"])
def test_save_and_open(backend, tmp_path):
    codes = some_codes()
    LocalIndex.build(codes, backend).save(tmp_path / "i")
    index = LocalIndex.open(tmp_path / "i")
    assert (len(index), index.model, index.backend_name) == (50, MODEL, backend)
    found = index.search(codes, k=1)
    np.testing.assert_array_equal(found.ids[:, 0], np.arange(50))
    assert os.fsencode(index.path(7)) == b"/photos/photo \xff 7.jpg"
    assert index.records.names(7) == ("dog",)
    assert len(index.range_search(codes.packed[:3], 64).ids) == 150


@pytest.mark.slow
@pytest.mark.parametrize("labels", [None, np.arange(300) % 2, np.arange(600).reshape(300, 2) % 2])
@pytest.mark.parametrize(
    ("backend", "kind"),
    [("faiss", "flat"), ("faiss", "ivf"), ("faiss", "mih"), ("faiss", "auto"), ("faiss", "hnsw"), ("exact", None)],
)
def test_building_from_a_file_is_building_from_memory(backend, kind, labels, tmp_path):
    codes = some_codes(300)
    records = replace(codes.records, labels=None if labels is None else labels.astype(np.int32))
    write_codes(tmp_path / "codes.h5", replace(codes, records=records))
    told = []
    built = build(tmp_path / "codes.h5", tmp_path / "i", backend, kind, report=lambda *done: told.append(done))
    if kind in ("flat", "ivf", "auto"):
        assert told[-1] == (300, 300)
    expected = LocalIndex.build(read_codes(tmp_path / "codes.h5"), backend, kind)
    assert built.reason == expected.backend.reason
    assert replace(built.manifest, data="", files={}) == replace(expected.save(tmp_path / "j"), data="", files={})
    index = LocalIndex.open(tmp_path / "i")
    assert [index.path(row) for row in range(300)] == [expected.path(row) for row in range(300)]
    assert [index.labels(row) for row in range(300)] == [expected.labels(row) for row in range(300)]
    np.testing.assert_array_equal(index.search(codes, 5).ids, expected.search(codes, 5).ids)


def test_a_build_that_fails_leaves_what_was_there(folder, tmp_path):
    write_codes(tmp_path / "codes.h5", some_codes(40_000))
    whole = (tmp_path / "codes.h5").read_bytes()
    (tmp_path / "codes.h5").write_bytes(whole[: len(whole) // 2])
    for target in (folder, tmp_path / "new.index"):
        with pytest.raises(CodesError, match=r"codes\.h5"):
            build(tmp_path / "codes.h5", target)
    write_codes(tmp_path / "none.h5", some_codes(0))
    with pytest.raises(MismatchError, match="no codes"):
        build(tmp_path / "none.h5", tmp_path / "new.index")
    assert not (tmp_path / "new.index").exists()
    assert len(LocalIndex.open(folder)) == 50
    assert len(list(folder.glob("[!.]*"))) == 2


def test_refuses_codes_of_another_model(folder):
    index = LocalIndex.open(folder)
    for other in (ModelRef("phash", "digest-b", 64), ModelRef("phash", "digest-a", 128)):
        with pytest.raises(MismatchError, match="cannot be compared"):
            index.search(some_codes(model=other))
    with pytest.raises(MismatchError, match=r"\(q, 8\)"):
        index.search(np.zeros((1, 16), np.uint8))
    with pytest.raises(MismatchError, match="float64"):
        index.search(np.zeros((1, 8)))


def test_refuses_senseless_arguments(folder):
    index = LocalIndex.open(folder)
    with pytest.raises(BackendError, match="k=0"):
        index.search(some_codes(), k=0)
    with pytest.raises(BackendError, match="negative"):
        index.range_search(some_codes(), -1)
    with pytest.raises(MismatchError, match="no codes"):
        LocalIndex.build(some_codes(0))


def test_replacing_an_index(folder):
    LocalIndex.build(some_codes(7)).save(folder)
    assert len(LocalIndex.open(folder)) == 7
    assert len(list(folder.glob("[!.]*"))) == 2


def test_an_open_index_can_be_saved_over_itself(folder):
    index = LocalIndex.open(folder)
    index.save(folder)
    assert os.fsencode(LocalIndex.open(folder).path(49)) == b"/photos/photo \xff 49.jpg"


def test_never_replaces_another_folder(tmp_path):
    (tmp_path / "precious.txt").write_text("keep me")
    with pytest.raises(OutputError, match="not an index folder"):
        LocalIndex.build(some_codes()).save(tmp_path)
    assert os.listdir(tmp_path) == ["precious.txt"]


def test_a_failed_save_leaves_the_old_index(folder, monkeypatch):
    before = sorted(folder.rglob("*"))
    index = LocalIndex.build(some_codes(9))
    monkeypatch.setattr(manifest, "commit", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        index.save(folder)
    with pytest.raises(OSError, match="disk full"):
        index.save(folder.with_name("new.index"))
    assert sorted(folder.rglob("*")) == before
    assert not folder.with_name("new.index").exists()
    assert len(LocalIndex.open(folder)) == 50


@pytest.mark.slow
def test_kill_during_save_leaves_the_old_index(forks, folder):
    code = f"""
import os, signal
from transhash.index.local import LocalIndex
from transhash.index import manifest
manifest.files.replacing = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
LocalIndex.open({str(folder)!r}).save({str(folder)!r})
"""
    assert forks.run(code).returncode == -9
    assert len(list(folder.glob("[!.]*"))) == 3
    assert len(LocalIndex.open(folder)) == 50
    LocalIndex.build(some_codes(7)).save(folder)
    assert len(list(folder.glob("[!.]*"))) == 2


@pytest.mark.slow
def test_one_writer_at_a_time(forks, tmp_path):
    """Of five concurrent writers, at least one succeeds, the others report an error, and the index stays intact."""
    LocalIndex.build(some_codes(), "exact").save(tmp_path / "first")
    code = f"""
import sys
from transhash import TransHashError
from transhash.index.local import LocalIndex
index = LocalIndex.open({str(tmp_path / "first")!r})
try:
    index.save({str(tmp_path / "i")!r})
except TransHashError as error:
    sys.exit(str(error))
"""
    running = [forks.start(code, pipes=["stderr"]) for _ in range(5)]
    ended = [(process.communicate()[1], process.returncode) for process in running]
    assert 0 in [returned for _, returned in ended]
    assert all("another process is writing it" in errors for errors, returned in ended if returned)
    assert len(LocalIndex.open(tmp_path / "i")) == 50
    assert len(list((tmp_path / "i").glob("[!.]*"))) == 2


def edit(folder: Path, **changes):
    path = folder / manifest.NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_manifest_that_is_a_pipe(folder):
    (folder / manifest.NAME).unlink()
    os.mkfifo(folder / manifest.NAME)
    with pytest.raises(IndexFolderError, match="not a file"):
        LocalIndex.open(folder)


def data_file(folder: Path, name: str) -> Path:
    return next(folder.glob(f"data-*/{name}"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


ATTACKS = {
    "no manifest": lambda f: (f / manifest.NAME).unlink(),
    "empty manifest": lambda f: (f / manifest.NAME).write_text(""),
    "manifest no JSON": lambda f: (f / manifest.NAME).write_bytes(b"\xff{"),
    "deep JSON": lambda f: (f / manifest.NAME).write_text("[" * 100_000),
    "huge manifest": lambda f: (f / manifest.NAME).write_text(" " * (2 << 20)),
    "manifest a list": lambda f: (f / manifest.NAME).write_text("[]"),
    "foreign format": lambda f: edit(f, format="other"),
    "future version": lambda f: edit(f, version=9),
    "data elsewhere": lambda f: edit(f, data="../../etc"),
    "file elsewhere": lambda f: edit(f, files={"../x": {"bytes": 1, "sha256": ""}}),
    "absolute file": lambda f: edit(f, files={"/etc/passwd": {"bytes": 1, "sha256": ""}}),
    "files a list": lambda f: edit(f, files=[]),
    "no files": lambda f: edit(f, files={}),
    "count no number": lambda f: edit(f, count="many"),
    "other count": lambda f: edit(f, count=49),
    "other bits": lambda f: edit(f, bits=128),
    "unknown backend": lambda f: edit(f, backend="nobody's"),
    "other backend": lambda f: edit(f, backend="exact"),
    "index truncated": lambda f: os.truncate(data_file(f, "backend/index.faiss"), 100),
    "index flipped": lambda f: flip(data_file(f, "backend/index.faiss")),
    "index gone": lambda f: data_file(f, "backend/index.faiss").unlink(),
    "records flipped": lambda f: flip(data_file(f, "records.h5")),
    "records gone": lambda f: data_file(f, "records.h5").unlink(),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_damaged_folders_give_one_line(attack, folder):
    ATTACKS[attack](folder)
    with pytest.raises(TransHashError) as caught:
        LocalIndex.open(folder)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    """An index with files of every kind."""
    folder = tmp_path_factory.mktemp("edited") / "i"
    index = LocalIndex.build(some_codes())
    index.remove(np.arange(50) % 7 == 3)
    index.save(folder)
    return folder


PIECES = st.sampled_from([b"", b"0", b"9", b"-", b"null", b"[", b"1e9", b'"', b"\xff", b"\0"])


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.integers(0, 3), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 40), PIECES), min_size=1, max_size=3))
def test_random_damage_gives_one_line(edited, which, damages):
    """Bytes of a file are removed, inserted or replaced; only changed whitespace in the manifest is harmless."""
    path = sorted(path for path in edited.rglob("*") if path.is_file())[which]
    before = path.read_bytes()
    data = before
    for where, length, piece in damages:
        start = int(where * len(data))
        data = data[:start] + piece + data[start + length :]
    try:
        path.write_bytes(data)
        index = LocalIndex.open(edited)
        assert [index.path(id) for id in index.ids.of(np.arange(len(index)))]
    except TransHashError as error:
        assert "\n" not in str(error)
    finally:
        path.write_bytes(before)


def test_records_of_another_length(folder):
    records = data_file(folder, "records.h5")
    LocalIndex.build(some_codes(9)).save(folder.with_name("other"))
    records.write_bytes(data_file(folder.with_name("other"), "records.h5").read_bytes())
    stored = json.loads((folder / manifest.NAME).read_text())["files"]
    stored["records.h5"] = vars(manifest.describe(records.parent)["records.h5"])
    edit(folder, files=stored)
    with pytest.raises(CodesError, match="50 codes and 9 paths"):
        LocalIndex.open(folder)
