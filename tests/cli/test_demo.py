"""The demo: a short training, and otherwise as a user runs it."""

import json
import re
import shlex
from html.parser import HTMLParser

import pytest
from click.testing import CliRunner
from PIL import Image
from transhash_cli.group import cli

from transhash.demo import in_a_process, photographs, prepared
from transhash.errors import OutputError, TransHashError

pytestmark = pytest.mark.slow

EPOCHS = 3


@pytest.fixture(scope="module")
def short():
    """A training of 3 epochs of a lighter network, which ranks better than a perceptual hash."""
    patch = pytest.MonkeyPatch()
    quick = {"epochs 25": f"epochs {EPOCHS}", "--stride 4 --groups 4": "--stride 16 --groups 0"}
    training = prepared._TRAINING
    for slow, fast in quick.items():
        training = training.replace(slow, fast)
    patch.setattr(prepared, "_TRAINING", training)
    yield
    patch.undo()


def invoke(folder):
    """Run the demo without a network."""

    def unreachable(*arguments):
        raise AssertionError(f"the demo connects to {arguments[1:]}")

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("socket.socket.connect", unreachable)
        return CliRunner().invoke(cli, ["demo"], catch_exceptions=False)


@pytest.fixture(scope="module")
def run(short, tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    return root, invoke(root)


def table(text):
    rows = re.findall(r"^(\S.*?) {2,}(\d+) {2,}(0\.\d{4})$", text, re.MULTILINE)
    return [(name, int(size), float(value)) for name, size, value in rows]


def test_compares_what_eight_bytes_can_do(run):
    codes, floats, half, small, phash = table(run[1].stdout)
    assert {codes[1], half[1], small[1], phash[1]} == {8}
    assert floats[1] > 8
    assert codes[2] > phash[2]


def test_finds_edited_copies_and_names_what_it_misses(run):
    root, done = run
    counted = re.findall(r"^(\S.*?) {2,}(\d+) {2,}(\d+) {2,}(\d+) {2,}(\d+) {2,}(\d+)$", done.stdout, re.MULTILINE)
    *by_edit, every = [(edit, *map(int, numbers)) for edit, *numbers in counted]
    assert [edit for edit, *_ in by_edit] == list(photographs.MADE)
    assert all(found + likely + missed == copies == 25 for _, copies, found, likely, missed, _ in by_edit)
    assert every[1:] == tuple(map(sum, list(zip(*by_edit, strict=True))[1:]))
    _, copies, found, likely, missed, others = every
    assert (found + likely) / copies > 0.7
    assert missed  # collages
    assert others < 0.02 * copies
    assert re.search(r"copies/collage/\w+\.jpg\n  no copy: no image is within 30 bits", done.stdout)
    report = (root / "th-demo" / "report.html").read_text(encoding="utf-8")
    assert f"{found + likely} of {copies} edited copies found among 25 photographs" in report
    assert report.index("collage: missed") < report.index("What the codes buy")


def test_draws_one_copy_for_every_edit(run):
    with Image.open(run[0] / "th-demo" / "copies.jpg") as picture:
        assert picture.width > 8 * 128
        assert picture.height > len(photographs.MADE) / 2 * 128
    shown = photographs.examples()
    assert [copy.edit for copy in shown] == list(photographs.MADE)
    assert len({copy.photo for copy in shown}) == len(shown)
    for copy in shown:
        path = run[0] / "th-demo" / "copies" / copy.path
        assert path.is_file()
        assert photographs.Copy.of(path) == copy


def test_photographs_are_small_and_come_with_their_authors(run):
    root = run[0] / "th-demo"
    photos = sorted((root / "photos").iterdir())
    assert sum(path.stat().st_size for path in photos) < 1.5 * 2**20
    text = (root / photographs.ATTRIBUTION).read_text(encoding="utf-8")
    rows = [re.split(r" *\| *", line.strip("| ")) for line in text.splitlines() if line.startswith("|")][2:]
    assert [row[0] for row in rows] == [path.name for path in photos] == photographs.names()
    for name, shows, author, licence, source in rows:
        assert licence in ("public domain", "[CC0 1.0]", "[CC BY 2.0]", "[CC BY 4.0]")
        assert all((name, shows, author, source))
        assert licence == "public domain" or f"\n{licence}: https://creativecommons.org/" in text
    for path in photos:
        with Image.open(path) as photo:
            assert photo.format == "JPEG"
            assert max(photo.size) <= 512
            assert not photo.getexif()


def test_copies_are_the_same_in_every_run(run, tmp_path, monkeypatch):
    monkeypatch.setattr(photographs, "MADE", photographs.MADE[:1])
    photographs.write(tmp_path / "photos", tmp_path / "copies")
    again = {path.name: path.read_bytes() for path in (tmp_path / "copies").rglob("*.jpg")}
    before = {path.name: path.read_bytes() for path in (run[0] / "th-demo" / "copies" / "mirrored").iterdir()}
    assert again == before


def test_pictures_and_split(run):
    root = run[0] / "th-demo"
    paths = sorted(path.relative_to(root / "images").as_posix() for path in root.glob("images/*/*.png"))
    assert len(paths) == 1797
    parts = [(root / f"{name}.txt").read_text().split() for name in ("queries", "training", "database")]
    assert sorted(path for part in parts for path in part) == paths
    assert [len(part) for part in parts] == [200, 1000, 597]


def test_commands_work_by_hand(run, monkeypatch):
    root, done = run
    monkeypatch.chdir(root)
    commands = re.findall(r"^\$ ((?:.*\\\n)*.*)$", done.stdout, re.MULTILINE)
    words = [[word for word in shlex.split(command) if word != "\n"][1:] for command in commands]
    photos, digits = words[:4], words[4:]
    assert [command[0] for command in photos] == ["encode", "index", "query", "encode"]
    assert [command[0] for command in digits] == ["train", "encode", "encode", "index", "index", "query", "eval"]
    for command in [*photos[:3], *digits[1:]]:  # copies are encoded as photographs are
        again = CliRunner().invoke(cli, command, catch_exceptions=False)
        assert again.exit_code == 0
        assert again.stdout in done.stdout


def test_report_is_self_contained(run):
    text = (run[0] / "th-demo" / "report.html").read_text(encoding="utf-8")
    sources = []

    class Finder(HTMLParser):
        def handle_starttag(self, tag, attributes):
            sources.extend(value for name, value in attributes if name in ("src", "href"))

    Finder().feed(text)
    assert len(sources) > 20
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert "{{" not in text.partition("<script")[0]
    for name, _, _ in table(run[1].stdout):
        assert name in text


def test_the_path_of_the_report_is_printed(run):
    root, done = run
    assert done.stdout.splitlines()[-1] == str(root / "th-demo" / "report.html")


def test_the_index_says_what_it_holds(run, monkeypatch):
    monkeypatch.chdir(run[0])
    info = json.loads(CliRunner().invoke(cli, ["index", "info", "th-demo/digits.index", "--json"]).stdout)
    assert (info["codes"], info["bits"]) == (597, 64)


@pytest.fixture(scope="module")
def folder(short, tmp_path_factory):
    """The folder of a demo that has not begun."""
    folder = tmp_path_factory.mktemp("prepared") / "d"
    assert not prepared.prepare(folder).resumed
    return folder


def test_an_interrupted_demo_resumes(run, folder):
    """A trained hasher is kept, but not that of a demo with other settings."""
    demo = prepared.prepare(folder)
    assert demo.resumed
    assert demo.digit_commands()[0][0] == "train"
    demo.hasher.write_bytes((run[0] / "th-demo" / "hasher.safetensors").read_bytes())
    demo = prepared.prepare(folder)
    assert [command[0] for command in demo.digit_commands()] == [
        "encode",
        "encode",
        "index",
        "index",
        "query",
        "eval",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "_TRAINING", "--epochs 4")
        assert not prepared.prepare(folder).resumed
    assert not demo.hasher.exists()


def test_a_completed_demo_starts_again_and_other_folders_are_left_alone(folder, tmp_path):
    demo = prepared.prepare(folder)
    demo.report.write_text("<!doctype html>\n<!-- a report of TransHash -->\n")
    (demo.folder / "stale").touch()
    assert not prepared.prepare(folder).resumed
    assert not (demo.folder / "stale").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="exists and is not a folder made by th demo"):
        prepared.prepare(tmp_path / "mine")
    assert (tmp_path / "mine" / "mine.txt").read_text() == "keep"


def test_commands_run_in_processes_by_default(capfd):
    in_a_process(["--version"])
    assert "th, version" in capfd.readouterr().out
    with pytest.raises(TransHashError, match="th nonsense ended with exit code 2"):
        in_a_process(["nonsense"])
