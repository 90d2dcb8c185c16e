import re
import subprocess

import click
import pytest
from transhash_cli.group import cli

import transhash

COMMANDS = [
    "train",
    "fit",
    "soup",
    "shrink",
    "export",
    "hub push",
    "encode",
    "index build",
    "index info",
    "query",
    "serve",
    "eval",
    "demo",
]
COMMANDS += ["protocol write", "protocol check", "protocol list"]
COMMANDS += ["codes info", "codes verify", "codes merge", "codes truncate", "codes export", "codes import"]
COMMANDS += [
    "index add",
    "index remove",
    "index sync",
    "index compact",
    "index merge",
    "index export",
    "index verify",
    "index tune",
    "dedup",
]


def test_all_commands_are_listed():
    context = click.Context(cli)

    def leaves(group, prefix=()):
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command.name == name
            if isinstance(command, click.Group):
                yield from leaves(command, (*prefix, name))
            else:
                yield " ".join((*prefix, name))

    assert sorted(leaves(cli)) == sorted(COMMANDS)


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
    """Of a number with its range, which stands in the same brackets."""
    text = " ".join(th("train", "--help").stdout.partition("Options:")[2].split())
    options = {entry.partition(" ")[0]: entry for entry in text.split(" --")}
    assert options["bits"].endswith("[default: 64; 8<=x<=1024]")
    assert options["backbone"].endswith("[default: vit_small_patch16_224]")


def test_version(command):
    assert re.fullmatch(r"\d+\.\d+\.\d+", transhash.__version__)
    done = subprocess.run([*command, "--version"], capture_output=True, text=True)
    assert done.stdout == f"th, version {transhash.__version__}\n"
