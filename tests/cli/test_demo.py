"""The demo, run once for all of these tests as a user runs it."""

import json
import re
import shlex
from html.parser import HTMLParser

import pytest


@pytest.fixture(scope="module")
def run(th, tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    return root, th("demo", cwd=root)


def table(text):
    rows = re.findall(r"^(\S.*?) {2,}(\d+) {2,}(0\.\d{4})$", text, re.MULTILINE)
    return [(name, int(size), float(value)) for name, size, value in rows]


def test_codes_are_good(run):
    ours, floats, half, small, phash = table(run[1].stdout)
    assert {ours[1], half[1], small[1], phash[1]} == {8}
    assert ours[2] >= 0.95
    assert ours[2] >= half[2]
    assert floats[1] > 100
    assert phash[2] < 0.6


def test_pictures_and_split(run):
    root = run[0] / "th-demo"
    paths = sorted(path.relative_to(root / "images").as_posix() for path in root.glob("images/*/*.png"))
    assert len(paths) == 1797
    parts = [(root / f"{name}.txt").read_text().split() for name in ("queries", "training", "database")]
    assert sorted(path for part in parts for path in part) == paths
    assert [len(part) for part in parts] == [200, 1000, 597]


def test_commands_work_by_hand(run, th):
    root, done = run
    commands = re.findall(r"^\$ ((?:.*\\\n)*.*)$", done.stdout, re.MULTILINE)
    assert [shlex.split(command)[1] for command in commands] == [
        "train",
        "encode",
        "encode",
        "index",
        "index",
        "query",
        "eval",
    ]
    for command in commands[1:]:
        words = [word for word in shlex.split(command) if word != "\n"][1:]
        again = th(*words, cwd=root)
        if again.stdout:
            assert again.stdout in done.stdout


def test_report_is_self_contained(run):
    text = (run[0] / "th-demo" / "report.html").read_text(encoding="utf-8")
    sources = []

    class Finder(HTMLParser):
        def handle_starttag(self, tag, attributes):
            sources.extend(value for name, value in attributes if name in ("src", "href"))

    Finder().feed(text)
    assert len(sources) > 100
    assert all(source.startswith("data:") for source in sources)
    assert not re.search(r"https?://|\{\{|\{%|<script", text)
    for name, size, value in table(run[1].stdout):
        assert name.replace("'", "&#39;") in text
        assert f"{size:,}" in text
        assert f"{value:.4f}" in text


def test_says_where_the_report_is_and_shows_progress(run):
    root, done = run
    assert done.stdout.splitlines()[-1] == str(root / "th-demo" / "report.html")
    assert "epoch 60/60" in done.stderr


def test_the_index_says_what_it_holds(run, th):
    info = json.loads(th("index", "info", "th-demo/digits.index", "--json", cwd=run[0]).stdout)
    assert (info["codes"], info["bits"]) == (597, 64)


def test_second_run_starts_clean_and_touches_nothing_else(run, th, tmp_path):
    root = tmp_path / "th-demo"
    root.mkdir()
    (root / "mine.txt").write_text("keep")
    done = th("demo", cwd=tmp_path, code=2)
    assert "was not made by th demo" in done.stderr
    assert (root / "mine.txt").read_text() == "keep"
    from transhash_cli.demo import _clean

    (run[0] / "th-demo" / "stale").touch()
    _clean(run[0] / "th-demo")
    assert [path.name for path in (run[0] / "th-demo").iterdir()] == [".th-demo"]
