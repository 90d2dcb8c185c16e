import re

import pytest

COMMANDS = ["train", "encode", "index build", "index info", "query", "eval", "demo"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_an_example(th, name):
    text = th(*name.split(), "--help").stdout
    assert re.search(r"Examples?:", text)
    assert f"th {name}" in text.split("Example", 1)[1]


def test_help_names_every_command(th):
    text = th("--help").stdout
    for name in {command.split()[0] for command in COMMANDS}:
        assert re.search(rf"^  {name} ", text, re.MULTILINE)


def test_defaults_are_shown(th):
    text = " ".join(th("train", "--help").stdout.split())
    assert "[default: 64]" in text
    assert "[default: vit_small_patch16_224]" in text


def test_version(th):
    assert re.fullmatch(r"th, version \d+\.\d+\.\d+\n", th("--version").stdout)
