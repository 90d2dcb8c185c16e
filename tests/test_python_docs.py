"""The examples in docs/python.md run, and the calls in its table exist."""

import re
from typing import Any

import click
import numpy as np
import pytest
from PIL import Image
from transhash_cli.group import cli

import transhash
from transhash.codes import ModelRef, Records
from transhash.errors import TransHashError

from .conftest import REPOSITORY

TEXT = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")


def write_images(folder):
    rng = np.random.default_rng(0)
    for name in ("photos/cats", "photos/dogs", "new/cats"):
        (folder / name).mkdir(parents=True)
        for number in range(4):
            pixels = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            pixels.resize((64, 64), Image.Resampling.NEAREST).save(folder / name / f"{number}.png")


@pytest.mark.slow
def test_the_examples_run(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pandas")
    write_images(tmp_path)
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    for example in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(example, scope)
    printed = capsys.readouterr().out
    assert "<Index photos.index: 8 codes of 128 bits by copy>" in printed
    assert "no label 'cows' in the index" in printed
    assert len(scope["matches"]) == 2
    assert {match.labels for match in scope["cats"][0]} == {("cats",)}


def leaves(command, context, words):
    """Yield the names of the commands that are not groups."""
    if not isinstance(command, click.Group):
        yield " ".join(words)
        return
    for name in command.list_commands(context):
        below = command.get_command(context, name)
        yield from leaves(below, click.Context(below, parent=context), [*words, name])


def test_the_table_pairs_every_command_with_a_public_call():
    rows = re.findall(r"^\| `(th [\w ]+)` \| (.*) \|$", TEXT.partition("## Commands and calls")[2], re.MULTILINE)
    assert {command for command, _ in rows} == set(leaves(cli, click.Context(cli), ["th"]))
    assert len({command for command, _ in rows}) == len(rows)
    for command, python in rows:
        calls = re.findall(r"`transhash\.(\w+)(?:\(…\)\.(\w+))?`", python)
        assert calls, command
        for name, method in calls:
            assert name in transhash.__all__, command
            assert callable(getattr(transhash.Index, method) if method else getattr(transhash, name)), command


WRONG = [None, 7, 1.5, object(), {}, np.zeros((2, 3), np.float32), np.zeros(0, np.uint8), "no such file", b"bytes"]


@pytest.mark.parametrize("value", WRONG, ids=lambda value: type(value).__name__)
def test_wrong_arguments_are_explained(value, tmp_path, monkeypatch):
    """A call either works or raises a TransHashError or TypeError."""
    monkeypatch.chdir(tmp_path)
    codes = transhash.Codes(np.zeros((3, 8), np.uint8), Records([b"a", b"b", b"c"]), MODEL)
    index = transhash.build_index(codes)
    attempts = [
        lambda: transhash.open(value),
        lambda: transhash.build_index(value),
        lambda: transhash.build_index(codes, type=value),
        lambda: transhash.build_index(codes, params=value),
        lambda: transhash.merge_indexes(value, "out"),
        lambda: transhash.index_info(value),
        lambda: transhash.query(value, codes),
        lambda: transhash.tune(value),
        lambda: transhash.Filter(globs=value),
        lambda: transhash.Filter(ids=value),
        lambda: index.search(value),
        lambda: index.search(codes, k=value),
        lambda: index.search(codes, radius=value),
        lambda: index.search(codes, where=value),
        lambda: index.search(codes, rerank=value),
        lambda: index.search(codes, candidates=value),
        lambda: index.add(value),
        lambda: index.remove(value),
        lambda: index.sync(value),
        lambda: index.tune(value),
        lambda: index.rows(value),
        lambda: index.path(value),
        lambda: index.to(value),
        lambda: index.save(value),
    ]
    for number, attempt in enumerate(attempts):
        try:
            attempt()
        except (TransHashError, TypeError) as error:
            assert "\n" not in str(error), number


MODEL = ModelRef("phash", "phash-dct-64", 64)
