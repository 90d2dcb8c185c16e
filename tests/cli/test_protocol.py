import json
import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def cifar():
    """60,000 names of images, as the folder of CIFAR-10 has them."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None  # there, files are made in a tenth of the time
    root = Path(tempfile.mkdtemp(prefix="transhash-", dir=memory))
    for part, count in (("train", 5000), ("test", 1000)):
        for label in ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"):
            (root / part / label).mkdir(parents=True)
            folder = str(root / part / label)
            for number in range(count):
                open(f"{folder}/{number}.png", "x").close()  # noqa: SIM115, PTH123: pathlib takes twice as long
    yield root
    shutil.rmtree(root)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sizes", "overlap"),
    [
        ("cifar10", (1000, 5000, 54_000), 0),
        ("cifar10-1", (1000, 5000, 59_000), 5000),
        ("cifar10-2", (10_000, 50_000, 50_000), 50_000),
    ],
)
def test_write_then_check(th, cifar, tmp_path, name, sizes, overlap):
    done = th("protocol", "write", name, cifar, "-o", tmp_path / "lists", "--seed", 5)
    assert done.stdout == ""
    query, training, database = sizes
    assert f"{query} query, {training} training, {database} database; 10 classes; mAP@{database}" in done.stderr
    found = json.loads(th("protocol", "check", name, tmp_path / "lists", "--json").stdout)
    assert found["counts"] == {"query": query, "training": training, "database": database}
    assert (found["queries_in_database"], found["training_in_database"]) == (0, overlap)
    assert (found["classes"], found["at"], found["unlabelled_queries"]) == (10, database, 0)
    assert done.stderr.endswith(f"split {found['identity']}\n")
    lines = (tmp_path / "lists" / "query.txt").read_text().splitlines()
    assert len(lines) == query
    assert re.fullmatch(r"test/airplane/\d+\.png 1( 0){9}", lines[0])
    if overlap:
        return
    table = th("protocol", "check", name, tmp_path / "lists").stdout
    assert dict(re.split(r"\s{2,}", line) for line in table.splitlines())["split"] == found["identity"]


def test_list(th):
    lines = th("protocol", "list").stdout.splitlines()
    assert lines[0].split()[:6] == ["name", "queries", "training", "database", "classes", "at"]
    rows = {line.split()[0]: line.split()[1:6] for line in lines[1:]}
    assert rows["nuswide21"] == ["2100", "10500", "193734", "21", "5000"]
    assert rows["mirflickr"] == ["1000", "4000", "-", "-", "-"]
    document = json.loads(th("protocol", "list", "--json").stdout)
    assert [entry["name"] for entry in document] == list(rows)


@pytest.mark.parametrize("name", ["protocol write", "protocol check", "protocol list"])
def test_every_command_shows_an_example(th, name):
    assert f"th {name}" in th(*name.split(), "--help").stdout.split("Example", 1)[1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["write", "cifar", "pictures", "-o", "lists"], 1, "unknown protocol; available: cifar10,"),
        (["write", "cifar10", "pictures", "-o", "lists"], 1, "3 classes of 8 images"),
        (["write", "coco", "pictures", "-o", "lists"], 1, "published lists"),
        (["write", "cifar10", "pictures", "-o", "pictures"], 1, "choose another output"),
        (["write", "cifar10", "nowhere", "-o", "lists"], 2, "'nowhere' does not exist"),
        (["write", "cifar10", "pictures"], 2, "-o"),
        (["check", "cifar10", "pictures"], 1, "query.txt: No such file"),
        (["check", "cifar10", "nowhere"], 2, "'nowhere' does not exist"),
    ],
)
def test_misuse_gives_one_line(th, pictures, tmp_path, arguments, code, message):
    (tmp_path / "pictures").symlink_to(pictures)
    done = th("protocol", *arguments, cwd=tmp_path, code=code)
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("Error: ")
    assert message in done.stderr
    assert not (tmp_path / "lists").exists()


def test_encode_takes_the_lists(th, pictures, tmp_path):
    """A database list of a protocol goes to th encode as it is."""
    (tmp_path / "database.txt").write_text("circle/1.png 1 0\ncross/2.png 0 1\n")
    (tmp_path / "classes.txt").write_text("circle\ncross\n")
    th("encode", pictures, "-o", "c.h5", "--model", "phash", "--list", "database.txt", cwd=tmp_path)
    th("index", "build", "c.h5", "-o", "i", cwd=tmp_path)
    found = json.loads(th("query", "i", pictures / "cross" / "2.png", "-k", 1, "--json", cwd=tmp_path).stdout)
    assert found["queries"][0]["matches"][0]["labels"] == ["cross"]
