"""`th index add`, `remove`, `sync`, `merge` and `verify`, and filters of `th query`, as a user types them."""

import codecs
import json
import os
import shutil

import pytest


@pytest.fixture(scope="module")
def library(th, pictures, tmp_path_factory):
    """Photos of two folders, codes of the first, of the second and of both, and an index of the first."""
    root = tmp_path_factory.mktemp("library")
    for label in ("circle", "cross"):
        shutil.copytree(pictures / label, root / "photos" / label)
    for name, include in (("circle", ["--include", "circle/*"]), ("cross", ["--include", "cross/*"]), ("both", [])):
        th("encode", "photos", "-o", f"{name}.h5", "--model", "phash", *include, cwd=root)
    th("index", "build", "circle.h5", "-o", "i", cwd=root)
    return root


@pytest.fixture
def work(library, tmp_path):
    """A copy of the library that a test may change; paths in its index are those of the original."""
    for entry in library.iterdir():
        if entry.name != "photos":
            (shutil.copytree if entry.is_dir() else shutil.copy)(entry, tmp_path / entry.name)
    (tmp_path / "photos").symlink_to(library / "photos")
    return tmp_path


def held(th, folder, index="i"):
    """Return {id: path below the photos} of an index."""
    (answer,) = json.loads(th("query", index, "photos/cross/0.png", "-k", 99, "--json", cwd=folder).stdout)["queries"]
    return {match["id"]: match["path"].partition("/photos/")[2] for match in answer["matches"]}


CIRCLE = {number: f"circle/{number}.png" for number in range(8)}
CROSS = {number: f"cross/{number}.png" for number in range(8)}


@pytest.mark.slow
def test_add_and_remove(th, work):
    done = th("index", "add", "i", "cross.h5", cwd=work)
    assert done.stderr == "i: added 8 images, 0 of them replacements; 16 now\n"
    assert held(th, work) == CIRCLE | {8 + number: path for number, path in CROSS.items()}
    done = th("index", "remove", "i", "--glob", "circle/*", cwd=work)
    assert done.stderr == "i: removed 8 images; 8 now\n"
    th("index", "remove", "i", "--id", 15, cwd=work)
    done = th("index", "add", "i", "both.h5", cwd=work, code=1)
    assert done.stderr == (
        f"Error: {os.path.realpath(work / 'photos')}/cross/0.png and 6 more are in the index already; "
        "pass --replace (replace=True), or compare: th index sync\n"
    )
    done = th("index", "add", "i", "both.h5", "--replace", cwd=work)
    assert done.stderr == "i: added 16 images, 7 of them replacements; 16 now\n"
    assert list(held(th, work)) != list(range(16))
    assert sorted(held(th, work)) == list(range(16, 32))
    assert "16 codes are intact" in th("index", "verify", "i", cwd=work).stdout


def test_remove_by_path_and_list(th, work, library):
    remove = ["index", "remove", "i"]
    done = th(
        *remove[:2], work / "i", "--path", "photos/circle/1.png", "--path", "circle/2.png", "--dry-run", cwd=library
    )
    assert [line.partition("/photos/")[2] for line in done.stdout.splitlines()] == ["circle/1.png", "circle/2.png"]
    assert done.stderr == f"{work}/i: would remove 2 of 8 images\n"
    (work / "list.txt").write_text("circle/1.png\r\n\ncircle/2.png\n")
    th(*remove, "--list", "list.txt", "--id", 7, cwd=work)
    (work / "list.0").write_text("circle/3.png\0circle/4.png\0")
    th(*remove, "--list", "list.0", "-0", cwd=work)
    assert sorted(held(th, work)) == [0, 5, 6]


def test_an_empty_list_removes_nothing(th, work):
    (work / "empty.txt").write_text("\n")
    done = th("index", "remove", "i", "--list", "empty.txt", cwd=work)
    assert done.stderr == "i: nothing removed; empty.txt lists no image\n"
    assert len(held(th, work)) == 8


@pytest.mark.slow
def test_sync_follows_encode_sync(th, work, library):
    """New, changed and vanished photos, as a user's folder has them after a while."""
    (work / "photos").unlink()
    shutil.copytree(library / "photos", work / "photos")
    encode = ["encode", "photos", "-o", "c.h5", "--model", "phash", "--sync"]
    th(*encode, cwd=work)
    th("index", "build", "c.h5", "-o", "i", "--force", cwd=work)
    shutil.copy(work / "photos" / "cross" / "0.png", work / "photos" / "circle" / "0.png")
    shutil.copy(work / "photos" / "cross" / "1.png", work / "photos" / "new.png")
    (work / "photos" / "circle" / "1.png").unlink()
    th(*encode, cwd=work)
    done = th("index", "sync", "i", "c.h5", cwd=work)
    assert done.stderr == "i: 1 image added, 1 removed, 1 changed; 16 now\n"
    found = held(th, work)
    assert {id: path for id, path in found.items() if id < 16} == {
        **{number: path for number, path in CIRCLE.items() if number > 1},
        **{8 + number: path for number, path in CROSS.items()},
    }
    assert sorted(path for id, path in found.items() if id >= 16) == ["circle/0.png", "new.png"]
    before = (work / "i" / "manifest.json").read_bytes()
    assert "0 images added, 0 removed, 0 changed; 16 now" in th("index", "sync", "i", "c.h5", cwd=work).stderr
    assert (work / "i" / "manifest.json").read_bytes() == before


@pytest.mark.slow
def test_merge(th, work):
    th("index", "build", "cross.h5", "-o", "j", "--type", "ivf", "--nlist", 2, cwd=work)
    done = th("index", "merge", "i", "j", "-o", "k", cwd=work)
    assert done.stderr == "wrote k: 16 codes from 2 indexes\n"
    assert held(th, work, "k") == CIRCLE | {8 + number: path for number, path in CROSS.items()}
    assert json.loads(th("index", "info", "k", "--json", cwd=work).stdout)["type"] == "flat"
    assert "in the index already" in th("index", "merge", "k", "j", "-o", "k", cwd=work, code=1).stderr
    th("index", "merge", "k", "j", "-o", "k", "--replace", cwd=work)
    assert sorted(held(th, work, "k")) == [*range(8), *range(16, 24)]


@pytest.mark.slow
def test_filters_of_a_query(th, work):
    th("index", "add", "i", "cross.h5", cwd=work)
    query = ["query", "i", "photos/cross/0.png", "-k", 99]

    def found(*filters):
        document = json.loads(th(*query, *filters, "--json", cwd=work).stdout)
        return sorted(match["id"] for match in document["queries"][0]["matches"])

    (work / "ids").write_bytes(codecs.BOM_UTF8 + b"1\r\n2\n14\n")
    assert found("--glob", "circle/*") == list(range(8))
    assert found("--label", "cross", "--glob", "*/3.png", "--glob", "*/4.png") == [11, 12]
    assert found("--ids", "ids", "--label", "circle") == [1, 2]
    assert found("--ids", "ids", "--radius", 64) == [1, 2, 14]
    (work / "ids").write_text("1\nx\n")
    for filters, code, message in [
        (["--glob", "none/*"], 1, "no path in the index matches 'none/*'; paths look like 'circle/0.png' in '"),
        (["--label", "cross", "--glob", "circle/*"], 1, "no image passes all filters"),
        (["--ids", "ids"], 1, "ids: line 2: 'x' is not an id; write one number per line"),
    ]:
        done = th(*query, *filters, cwd=work, code=code)
        assert message in done.stderr
        assert (done.stdout, done.stderr.count("\n")) == ("", 1)


def test_verify_reports_all_damage(th, work):
    data = next((work / "i").glob("data-*"))
    (data / "records.h5").write_bytes(b"x")
    (data / "backend" / "index.faiss").unlink()
    done = th("index", "verify", "i", cwd=work, code=1)
    assert "index.faiss: missing" in done.stdout
    assert "records.h5: 1 bytes, the manifest says" in done.stdout
    assert done.stderr == "Error: i: damaged, problems: 2; build it again\n"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["index", "remove", "i"], 2, "nothing selected; pass --glob, --path, --id or --list"),
        (["index", "remove", "i", "--path", "none.png"], 1, "not in the index: 'none.png'; paths look like"),
        (["index", "remove", "i", "--glob", "*"], 1, "would remove every row"),
        (["index", "add", "i", "photos/cross/0.png"], 1, "not a codes file"),
        (["index", "add", "photos", "cross.h5"], 1, "not an index folder"),
        (["index", "merge", "i", "-o", "photos"], 1, "exists and is not an index folder"),
    ],
)
def test_wrong_usage_is_one_line(th, work, arguments, code, message):
    done = th(*arguments, cwd=work, code=code)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert len(list((work / "i").glob("[!.]*"))) == 2


def test_unsupported_operations(th, work):
    th("index", "build", "circle.h5", "-o", "h", "--type", "hnsw", cwd=work)
    done = th("index", "remove", "h", "--id", 1, cwd=work, code=1)
    assert (
        "index type hnsw cannot remove codes: FAISS does not support that; types that can: flat, ivf" in done.stderr
    )


def test_compact(th_inside, work):
    done = th_inside("index", "compact", "i", cwd=work)
    assert done.stderr == "i: 8 images\n"
    assert "8 codes are intact" in th_inside("index", "verify", "i", cwd=work).stdout
