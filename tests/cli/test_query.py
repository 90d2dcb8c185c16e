import csv
import io
import json
import os
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from transhash import hamming, read_codes


@pytest.fixture(scope="module")
def library(th, pictures, tmp_path_factory):
    """A folder with codes and a flat and an ivf index of the pictures, encoded by phash."""
    root = tmp_path_factory.mktemp("library")
    shutil.copytree(pictures, root / "photos")
    shutil.copy(root / "photos" / "cross" / "0.png", os.fsencode(root / "photos" / "cross") + b"/new\nline \xff.png")
    th("encode", "photos", "-o", "c.h5", "--model", "phash", cwd=root)
    th("index", "build", "c.h5", "-o", "flat.index", cwd=root)
    th("index", "build", "c.h5", "-o", "ivf.index", "--type", "ivf", "--nlist", 4, "--nprobe", 4, cwd=root)
    return root


@pytest.mark.parametrize("index", ["flat.index", "ivf.index"])
def test_json_agrees_with_numpy(th, library, index):
    codes = read_codes(library / "c.h5")
    expected = hamming.top_k(codes.packed, codes.packed, 6)
    document = json.loads(th("query", index, "c.h5", "-k", 6, "--json", cwd=library).stdout)
    assert len(document["queries"]) == 25
    for row, answer in enumerate(document["queries"]):
        assert answer["query"] == codes.records.path(row)
        assert [match["id"] for match in answer["matches"]] == expected.ids[row].tolist()
        assert [match["distance"] for match in answer["matches"]] == expected.distances[row].tolist()
        assert [match["rank"] for match in answer["matches"]] == [1, 2, 3, 4, 5, 6]
        for match in answer["matches"]:
            assert match["path"] == codes.records.path(match["id"])
            assert tuple(match["labels"]) == codes.records.names(match["id"])


@pytest.mark.slow
def test_several_labels_are_joined(th, library, tmp_path):
    (tmp_path / "list.txt").write_text("cross/0.png 1 1 0\ncircle/1.png 0 0 0\n")
    (tmp_path / "classes.txt").write_text("red\ngreen\nblue\n")
    (tmp_path / "photos").symlink_to(library / "photos")
    th("encode", "photos", "-o", "c.h5", "--model", "phash", "--list", "list.txt", cwd=tmp_path)
    th("index", "build", "c.h5", "-o", "i", cwd=tmp_path)
    (answer,) = json.loads(th("query", "i", "photos/cross/0.png", "--json", cwd=tmp_path).stdout)["queries"]
    assert [match["labels"] for match in answer["matches"]] == [["red", "green"], []]
    rows = list(csv.reader(io.StringIO(th("query", "i", "photos/cross/0.png", "--csv", cwd=tmp_path).stdout)))
    assert [row[3] for row in rows] == ["label", "red, green", ""]
    assert "red, green" in th("query", "i", "photos/cross/0.png", cwd=tmp_path).stdout


def test_images_are_encoded_with_the_indexs_model(th, library):
    done = th("query", "flat.index", "photos/circle/3.png", "photos/stripe/5.png", "-k", 1, "--json", cwd=library)
    first, second = json.loads(done.stdout)["queries"]
    assert (first["matches"][0]["distance"], first["matches"][0]["path"]) == (0, str(library / "photos/circle/3.png"))
    assert second["matches"][0]["labels"] == ["stripe"]


@pytest.mark.parametrize("k", [None, 2])
def test_radius(th, library, k):
    codes = read_codes(library / "c.h5")
    limit = [] if k is None else ["-k", k]
    done = th("query", "ivf.index", "photos/cross/1.png", "--radius", 12, *limit, "--json", cwd=library)
    (answer,) = json.loads(done.stdout)["queries"]
    row = list(codes.records.paths).index(b"cross/1.png")
    distances = hamming.distances(codes.packed[row : row + 1], codes.packed)[0]
    expected = [place for place in np.argsort(distances, kind="stable") if distances[place] <= 12][:k]
    assert [match["id"] for match in answer["matches"]] == expected


def test_a_table_has_one_line_per_match(th, library):
    done = th("query", "flat.index", "photos/cross/0.png", "-k", 3, cwd=library)
    lines = done.stdout.splitlines()
    assert lines[0] == "photos/cross/0.png"
    assert lines[1].split() == ["rank", "distance", "label", "path"]
    assert len(lines) == 5
    assert "new\\nline \\xff.png" in done.stdout
    assert done.stderr == ""


def test_csv_keeps_the_bytes_of_paths(command, library):
    import subprocess

    done = subprocess.run(
        [*command, "query", "flat.index", "photos/cross/0.png", "-k", "2", "--csv"],
        cwd=library,
        capture_output=True,
        check=True,
    )
    rows = list(csv.reader(io.StringIO(done.stdout.decode("utf-8", "surrogateescape"), newline="")))
    assert rows[0] == ["query", "rank", "distance", "label", "path"]
    assert {os.fsencode(row[4]) for row in rows[1:]} == {
        os.fsencode(library / "photos/cross/0.png"),
        os.fsencode(library / "photos/cross") + b"/new\nline \xff.png",
    }


def test_sheet(th, library, tmp_path):
    th(
        "query",
        "flat.index",
        "photos/cross/0.png",
        "photos/circle/0.png",
        "-k",
        4,
        "--sheet",
        tmp_path / "s.png",
        cwd=library,
    )
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.width > 5 * 128
        assert sheet.height > 2 * 128
    (tmp_path / "s.txt").touch()


def test_page(th, library, tmp_path):
    page = tmp_path / "m.html"
    done = th("query", "flat.index", "photos/cross/0.png", "-k", 4, "--html", page, cwd=library)
    assert done.stderr.endswith(f"wrote {page}\n")
    assert page.read_text().count("<li>") == 4
    page.write_text("notes")
    done = th("query", "flat.index", "photos/cross/0.png", "--html", page, cwd=library, code=1)
    assert done.stderr == f"Error: {page}: exists and is not a report; choose another output\n"
    assert page.read_text() == "notes"


def test_an_unreadable_query_does_not_affect_the_others(th, library, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    done = th("query", "flat.index", "photos/cross/0.png", tmp_path / "bad.jpg", "--json", cwd=library)
    assert len(json.loads(done.stdout)["queries"]) == 1
    assert done.stderr == f"skipped {tmp_path / 'bad.jpg'}: not an image of a known format\n"


@pytest.mark.slow
def test_another_models_codes_are_refused(th, library, hasher_file, tmp_path):
    th("encode", library / "photos", "-o", tmp_path / "q.h5", "--model", hasher_file)
    done = th("query", "flat.index", tmp_path / "q.h5", cwd=library, code=1)
    assert "cannot be compared" in done.stderr
    done = th("query", "flat.index", "photos/cross/0.png", "--model", hasher_file, cwd=library, code=1)
    assert "cannot be compared" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_a_moved_hasher_must_be_named(th, pictures, hasher_file, tmp_path):
    shutil.copy(hasher_file, tmp_path / "h.safetensors")
    th("encode", pictures, "-o", "c.h5", "--model", "h.safetensors", cwd=tmp_path)
    th("index", "build", "c.h5", "-o", "i", cwd=tmp_path)
    query = ["query", "i", pictures / "cross" / "2.png", "-k", 1, "--json"]
    here = json.loads(th(*query, cwd=tmp_path).stdout)
    assert here["queries"][0]["matches"][0]["distance"] == 0
    (tmp_path / "h.safetensors").rename(tmp_path / "moved.safetensors")
    done = th(*query, cwd=tmp_path, code=1)
    assert "--model FILE" in done.stderr
    assert json.loads(th(*query, "--model", "moved.safetensors", cwd=tmp_path).stdout) == here


def test_info(th, library):
    lines = dict(line.split(maxsplit=1) for line in th("index", "info", "ivf.index", cwd=library).stdout.splitlines())
    assert (lines["type"], lines["nlist"], lines["nprobe"], lines["codes"], lines["bits"]) == (
        "ivf",
        "4",
        "4",
        "25",
        "64",
    )
    document = json.loads(th("index", "info", "flat.index", "--json", cwd=library).stdout)
    assert (document["codes"], document["model"], document["type"]) == (25, "phash", "flat")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["query", "flat.index"], 2, "no query: name image files"),
        (["query", "flat.index", "none.jpg"], 2, "'none.jpg' does not exist"),
        (["query", "none.index", "c.h5"], 2, "'none.index' does not exist"),
        (["query", "photos", "c.h5"], 1, "not an index folder"),
        (["query", "c.h5", "c.h5"], 1, "not an index folder"),
        (["query", "flat.index", "c.h5", "-k", "0"], 2, "-k"),
        (["query", "flat.index", "c.h5", "--json", "--csv"], 2, "cannot be combined"),
        (["query", "flat.index", "c.h5", "--nprobe", "3"], 1, "no parameter nprobe"),
        (["query", "flat.index", "c.h5", "--sheet", "no/s.png"], 2, "'no' does not exist"),
        (["index", "build", "c.h5", "-o", "photos"], 1, "not an index folder"),
        (["index", "build", "photos/cross/0.png", "-o", "x"], 1, "not a codes file"),
        (["index", "build", "c.h5", "-o", "x", "--type", "tree"], 1, "it has: flat, ivf"),
        (["index", "build", "c.h5", "-o", "x", "--type", "none:"], 1, "available: exact, faiss"),
        (["index", "build", "c.h5", "-o", "x", "--type", "ivf", "--nlist", "99"], 1, "choose fewer"),
        (["index", "info", "photos"], 1, "not an index folder"),
        (["eval", "c.h5"], 2, "--queries"),
        (["eval", "c.h5", "--queries", "c.h5", "--at", "0"], 2, "--at"),
        (["eval", "photos/cross/0.png", "--queries", "c.h5"], 1, "not a codes file"),
        (["nonsense"], 2, "No such command"),
    ],
)
def test_misuse_gives_one_line(th, library, arguments, code, message):
    before = sorted(os.listdir(library))
    done = th(*arguments, cwd=library, code=code)
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("Error: ")
    assert message in done.stderr
    assert done.stdout == ""
    assert sorted(os.listdir(library)) == before


@pytest.mark.slow
def test_eval(th, library):
    done = th("eval", "c.h5", "--queries", "c.h5", "--json", cwd=library)
    document = json.loads(done.stdout)
    assert (document["queries"], document["database"], document["bits"]) == (25, 25, 64)
    assert document["metrics"]["P@1"] == 1
    assert 0.9 < document["metrics"]["mAP@all"] <= 1
    assert "expected over all orders" in document["ties"]
    table = th("eval", "c.h5", "--queries", "c.h5", "--at", 5, cwd=library).stdout
    assert "mAP@5" in table


def test_the_reader_closes_the_pipe(command, library):
    import subprocess

    with subprocess.Popen(
        [*command, "query", "flat.index", "c.h5", "-k", "25"],
        cwd=library,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


def test_images_of_the_index_are_queries(th, library):
    """By id or path; no image is a match of itself, but its copies are."""
    codes = read_codes(library / "c.h5")
    done = th("query", "flat.index", "--like", 3, "--like", "circle/1.png", "-k", 4, "--json", cwd=library)
    answers = json.loads(done.stdout)["queries"]
    rows = [3, next(row for row in range(len(codes)) if codes.records.path(row).endswith("circle/1.png"))]
    for answer, row in zip(answers, rows, strict=True):
        assert answer["query"] == codes.records.path(row)
        everything = hamming.top_k(codes.packed[row : row + 1], codes.packed, len(codes)).ids[0]
        assert [match["id"] for match in answer["matches"]] == [id for id in everything if id != row][:4]
    done = th("query", "ivf.index", "--like", 3, "--radius", 64, "--json", cwd=library)
    (answer,) = json.loads(done.stdout)["queries"]
    assert sorted(match["id"] for match in answer["matches"]) == [row for row in range(len(codes)) if row != 3]


@pytest.mark.parametrize(
    ("arguments", "sentence", "code"),
    [
        (["--like", 999], "id 999: not in the index", 1),
        (["--like", "circle/none.png"], "not in the index: 'circle/none.png'", 1),
        (["--like", 1, "photos/circle/1.png"], "choose one", 2),
        (["--like", 1, "--rerank", "asymmetric"], "--rerank and --model cannot be combined", 2),
        ([], "no query: name image files", 2),
        (["-", "-"], "standard input holds one image", 2),
    ],
)
def test_queries_that_do_not_fit_are_refused(th, library, arguments, sentence, code):
    assert sentence in th("query", "flat.index", *arguments, cwd=library, code=code).stderr


def test_an_image_on_standard_input(command, library):
    with (library / "photos" / "circle" / "3.png").open("rb") as image:
        done = subprocess.run(
            [*command, "query", "flat.index", "photos/stripe/1.png", "-", "--json", "-k", "1"],
            stdin=image,
            cwd=library,
            capture_output=True,
            check=True,
        )
    second = json.loads(done.stdout)["queries"][1]
    assert (second["query"], second["matches"][0]["path"]) == ("-", str(library / "photos/circle/3.png"))
    words = [*command, "query", "flat.index", "-"]
    done = subprocess.run(words, input=b"garbage", cwd=library, capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr == b"Error: standard input: '-' cannot be read: not an image of a known format\n"
