import csv
import io
import json
import os
import shutil

import pytest
from PIL import Image


@pytest.fixture(scope="module")
def photos(th, pictures, tmp_path_factory):
    """Three photos, one of them also as a copy with an odd name, and as a smaller picture."""
    root = tmp_path_factory.mktemp("photos")
    (root / "photos").mkdir()
    for label in ("circle", "cross", "stripe"):
        shutil.copy(pictures / label / "0.png", root / "photos" / f"{label}.png")
    shutil.copy(root / "photos" / "cross.png", os.fsencode(root / "photos") + b"/dup\n \xff.png")
    Image.open(root / "photos" / "cross.png").resize((36, 36)).save(root / "photos" / "small.png")
    th("encode", "photos", "-o", "c.h5", "--model", "phash", cwd=root)
    th("index", "build", "c.h5", "-o", "i", cwd=root)
    return root


SUMMARY = "1 cluster of 3 images within 6 bits: 2 could be removed, "


@pytest.mark.slow
def test_json_and_files_agree(th, photos, tmp_path):
    document = json.loads(th("dedup", "i", "--radius", 6, "--json", cwd=photos).stdout)
    (cluster,) = document["clusters"]
    images = cluster["images"]
    assert [os.path.basename(os.fsencode(image["path"])) for image in images] == [
        b"cross.png",
        b"dup\n \xff.png",
        b"small.png",
    ]
    assert [image["id"] for image in images] == [1, 2, 3]
    assert [image["bytes"] for image in images] == [os.path.getsize(image["path"]) for image in images]
    assert images[0]["distance"] == images[1]["distance"] == 0
    assert (document["clusters"], document["spare"]) == ([cluster], 2)
    assert document["spare_bytes"] == sum(image["bytes"] for image in images[1:])
    for _ in range(2):  # the second replaces the first
        done = th("dedup", "i", "--radius", 6, "-o", tmp_path / "d.jsonl", cwd=photos)
        assert SUMMARY in done.stderr
        assert done.stdout == ""
        th("dedup", "c.h5", "--radius", 6, "-o", tmp_path / "d.csv", cwd=photos)
    assert [json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines()] == [cluster]
    text = (tmp_path / "d.csv").read_bytes().decode("utf-8", "surrogateescape")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert rows == [{"cluster": "1", **{name: str(value) for name, value in image.items()}} for image in images]


def test_table(th, photos):
    done = th("dedup", "i", "--radius", 6, cwd=photos)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["cluster", "id", "1", "2", "3"]
    assert "dup\\n \\xff.png" in done.stdout
    assert SUMMARY in done.stderr
    done = th("dedup", "i", "--radius", 0, cwd=photos)
    assert len(done.stdout.splitlines()) == 4


def test_page(th, photos, tmp_path):
    page = tmp_path / "d.html"
    done = th("dedup", "i", "--radius", 6, "--report", page, cwd=photos)
    assert (done.stdout, done.stderr.splitlines()[0]) == ("", f"wrote {page}")
    assert page.read_text().count("<li>") == 3
    page.write_text("notes")
    done = th("dedup", "i", "--report", page, cwd=photos, code=1)
    assert done.stderr == f"Error: {page}: exists and is not a report; choose another output\n"


def test_spare_images_are_removed_from_the_index(th, command, photos, tmp_path):
    import subprocess

    shutil.copytree(photos / "i", tmp_path / "i")
    dedup = [*command, "dedup", tmp_path / "i", "--radius", "6", "--spare", "-0"]
    spare = subprocess.run(dedup, capture_output=True, check=True).stdout
    assert [os.path.basename(path) for path in spare.split(b"\0")] == [b"dup\n \xff.png", b"small.png", b""]
    remove = [*command, "index", "remove", tmp_path / "i", "--list", "-", "-0"]
    done = subprocess.run(remove, input=spare, capture_output=True, check=True)
    assert done.stderr.endswith(b"removed 2 images; 3 now\n")
    done = th("dedup", "i", "--radius", 6, cwd=tmp_path)
    assert (done.stdout, done.stderr.splitlines()[-1]) == ("", "no two images are within 6 bits")
    assert len(list((photos / "photos").iterdir())) == 5


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["i", "--radius", "2", "-o", "d.txt"], 2, "choose a name that ends in .csv or .jsonl"),
        (["i", "--radius", "2", "-o", "precious.csv"], 1, "exists and is not a file of clusters"),
        (["i", "--radius", "2", "--json", "--spare"], 2, "cannot be combined"),
        (["photos", "--radius", "2"], 1, "not an index folder"),
    ],
)
def test_wrong_usage_is_one_line(th, photos, arguments, code, message):
    (photos / "precious.csv").write_text("name\n")
    done = th("dedup", *arguments, cwd=photos, code=code)
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert (photos / "precious.csv").read_text() == "name\n"


def test_names_with_line_breaks_and_suggestions(th, photos):
    done = th("dedup", "i", "--radius", 6, "--spare", cwd=photos, code=1)
    assert done.stdout == ""
    assert "dup\\n \\xff.png: the name contains a line break; separate paths by NUL bytes with -0" in done.stderr
    assert "suggested: --radius" in th("dedup", "i", "--suggest", cwd=photos).stdout
    assert json.loads(th("dedup", "c.h5", "--suggest", "--json", cwd=photos).stdout)["sample"] == 5


def test_no_radius_separates_equal_codes(th, tmp_path):
    for number in range(120):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
    th("encode", ".", "-o", "c.h5", "--model", "phash", cwd=tmp_path)
    done = th("dedup", "c.h5", "--suggest", cwd=tmp_path)
    assert done.stdout.endswith("suggested: --radius 0\n")
    assert "these codes do not tell the images apart" in done.stderr


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["-0"], "-0 applies to --spare"),
        (["--suggest", "--radius", "3"], "--suggest only looks for a radius"),
        (["--suggest", "--spare"], "--suggest only looks for a radius"),
    ],
)
def test_options_that_would_be_ignored_are_refused(th, photos, options, why):
    assert why in th("dedup", "c.h5", *options, cwd=photos, code=2).stderr
