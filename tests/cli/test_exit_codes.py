"""The table of docs/exit-codes.md, for every command: wrong usage, no input, partly unreadable input, signals."""

import json
import shutil

import click
import numpy as np
import pytest
from transhash_cli.group import cli

from ..conftest import TINY


def leaves(command, context, words=()):
    """Yield every command that is not a group, with its words."""
    if not isinstance(command, click.Group):
        yield words, command
        return
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        yield from leaves(below, click.Context(below, parent=context), (*words, name))


COMMANDS = dict(leaves(cli, click.Context(cli)))
INPUTS = {  # commands that read something: arguments that lead to nothing
    "encode": ["nothing", "-o", "c.h5", "--model", "phash"],
    "train": ["nothing", "-o", "h.safetensors"],
    "fit": ["nothing", "-o", "h.safetensors", "--pretrained"],
    "soup": ["nothing", "nothing", "-o", "h.safetensors"],
    "shrink": ["nothing", "-o", "h.safetensors"],
    "export": ["nothing", "-o", "h.onnx"],
    "hub push": ["nothing", "user/name"],
    "codes info": ["nothing"],
    "codes verify": ["nothing"],
    "codes merge": ["nothing", "-o", "c.h5"],
    "codes truncate": ["nothing", "-o", "c.h5", "--bits", "16"],
    "codes export": ["nothing", "-o", "c.csv"],
    "codes import": ["nothing.csv", "-o", "c.h5", "--model", "m"],
    "index build": ["nothing", "-o", "i.index"],
    "index info": ["nothing"],
    "index tune": ["nothing"],
    "index add": ["nothing", "nothing"],
    "index remove": ["nothing", "--id", "0"],
    "index sync": ["nothing", "nothing"],
    "index compact": ["nothing"],
    "index merge": ["nothing", "-o", "i.index"],
    "index export": ["nothing", "-o", "c.h5"],
    "index verify": ["nothing"],
    "query": ["nothing", "nothing"],
    "serve": ["nothing"],
    "dedup": ["nothing"],
    "eval": ["nothing", "--queries", "nothing"],
    "protocol write": ["cifar10", "nothing", "-o", "lists"],
    "protocol check": ["nothing", "nothing"],
}
WITHOUT_INPUT = {"protocol list", "demo"}


def errors(done):
    return [line for line in done.stderr.splitlines() if line.startswith("Error: ")]


def test_the_lists_here_name_every_command():
    assert {" ".join(words) for words in COMMANDS} == INPUTS.keys() | WITHOUT_INPUT


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_wrong_usage_exits_with_2(words, th_inside, tmp_path):
    done = th_inside(*words, "--no-such-option", cwd=tmp_path, code=2)
    assert (len(errors(done)), done.stdout) == (1, "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", INPUTS)
def test_a_missing_input_exits_with_2(words, th_inside, tmp_path):
    done = th_inside(*words.split(), *INPUTS[words], cwd=tmp_path, code=2)
    assert (len(errors(done)), done.stdout) == (1, "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_an_interruption_exits_with_130(words, th_inside, tmp_path, monkeypatch):
    """Wherever it occurs; here at the start of each command."""

    def interrupt(**values):
        raise KeyboardInterrupt

    command = COMMANDS[words]
    monkeypatch.setattr(command, "callback", interrupt)
    monkeypatch.setattr(command, "params", [])
    done = th_inside(*words, cwd=tmp_path, code=130)
    assert errors(done) == ["Error: interrupted; files written earlier are unchanged"]


@pytest.fixture
def photos(pictures, tmp_path):
    """Images of which one in every class cannot be read."""
    shutil.copytree(pictures, tmp_path / "photos")
    for label in ("circle", "cross"):
        (tmp_path / "photos" / label / "0.png").write_bytes(b"no image")
    return tmp_path / "photos"


@pytest.fixture
def nothing(tmp_path):
    """Images of which none can be read."""
    for label in ("a", "b"):
        for number in range(2):
            (tmp_path / "bad" / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / "bad" / label / f"{number}.png").write_bytes(b"no image")
    return tmp_path / "bad"


@pytest.mark.slow
def test_images_that_cannot_be_read_are_named_and_do_not_fail_a_command(
    photos, nothing, th_inside, tmp_path, hasher_file
):
    short = ["--epochs", 1, "--batch-size", 4, *TINY]
    for command in (
        ["encode", photos, "-o", "c.h5", "--model", "phash"],
        ["train", photos, "-o", "h.safetensors", "--bits", 16, *short],
        ["fit", photos, "-o", "f.safetensors", "--bits", 8, "--weights", hasher_file, *TINY[:-2]],
    ):
        done = th_inside(*command, cwd=tmp_path)
        assert "skipped c" in done.stderr, command
        assert not errors(done)
        quiet = th_inside(
            "--quiet", *command, "-o", "q.safetensors" if command[0] != "encode" else "q.h5", cwd=tmp_path
        )
        assert (quiet.stdout, quiet.stderr) == ("", "")
    for command in (
        ["encode", nothing, "-o", "n.h5", "--model", "phash"],
        ["train", nothing, "-o", "n.safetensors", *short],
        ["fit", nothing, "-o", "n.safetensors", "--weights", hasher_file, *TINY[:-2]],
    ):
        assert len(errors(th_inside(*command, cwd=tmp_path, code=1))) == 1


@pytest.mark.slow
def test_a_query_that_cannot_be_read(photos, th_inside, tmp_path):
    th_inside("encode", photos, "-o", "c.h5", "--model", "phash", cwd=tmp_path)
    th_inside("index", "build", "c.h5", "-o", "i.index", cwd=tmp_path)
    good, bad = photos / "cross" / "1.png", photos / "cross" / "0.png"
    done = th_inside("query", "i.index", good, bad, "-k", 1, "--json", cwd=tmp_path)
    assert "skipped" in done.stderr
    assert len(json.loads(done.stdout)["queries"]) == 1
    assert len(errors(th_inside("query", "i.index", bad, cwd=tmp_path, code=1))) == 1
    quiet = th_inside("--quiet", "query", "i.index", good, bad, "-k", 1, "--json", cwd=tmp_path)
    assert (quiet.stdout, quiet.stderr) == (done.stdout, "")


def test_an_empty_folder_exits_with_1(th_inside, tmp_path, hasher_file):
    (tmp_path / "empty").mkdir()
    for command in (
        ["encode", "empty", "-o", "c.h5", "--model", "phash"],
        ["train", "empty", "-o", "h.safetensors"],
        ["fit", "empty", "-o", "h.safetensors", "--weights", hasher_file],
        ["protocol", "write", "cifar10", "empty", "-o", "lists"],
        ["index", "info", "empty"],
        ["query", "empty", hasher_file],
        ["dedup", "empty"],
    ):
        assert len(errors(th_inside(*command, cwd=tmp_path, code=1))) == 1


@pytest.mark.parametrize(
    ("words", "code"), [([], 0), (["--no-such-option"], 2), (["nothing"], 2), (["--model", "no.safetensors"], 1)]
)
def test_log_json_writes_nothing_but_json(words, code, photos, th_inside, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((1, 8, 8, 3), np.uint8))
    done = th_inside(
        "encode", photos, "-o", "c.h5", "--model", "phash", "--log-json", *words, cwd=tmp_path, code=code
    )
    events = [json.loads(line) for line in done.stderr.splitlines()]
    found = {event["event"] for event in events} - {"progress"}  # which a slow machine has, too
    assert found == ({"skipped", "summary"} if code == 0 else {"error"})
    assert done.stdout == ""
