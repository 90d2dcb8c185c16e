"""The time of single commands, each in a new process: `th --help`, and `th query` with one image."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import click

from transhash import build_index, encode
from transhash.demo import photographs

from . import suites

_TH = "from transhash_cli.main import main; main()"


@click.command("cold")
@click.option("--model", "models", multiple=True, default=("copy",), show_default=True, help="Hasher; repeatable.")
@click.option(
    "--rounds", type=suites.COUNT, default=10, show_default=True, help="Rounds; in each, every command runs once."
)
def command(models: tuple[str, ...], rounds: int) -> None:
    """Time commands and a Python that does nothing in alternation; the first round is not counted."""
    photos = sorted(Path(photographs.__file__).with_name("photos").glob("*.jpg"))
    with tempfile.TemporaryDirectory() as folder:
        commands = {"python -c pass": [sys.executable, "-c", "pass"], "th --help": _th("--help")}
        for number, model in enumerate(models):
            index = Path(folder) / f"{number}.index"
            build_index(encode(photos, model), index)
            commands[f"th query, {Path(model).name}"] = _th("query", str(index), str(photos[0]))
        seconds = measure(commands, rounds)
    bare = min(seconds["python -c pass"])
    print("| command | best, ms | median, ms | best, times a bare Python |")
    print("|---|---:|---:|---:|")
    for name, found in seconds.items():
        print(f"| {name} | {1e3 * min(found):.0f} | {1e3 * median(found):.0f} | {min(found) / bare:.1f} |")


def measure(commands: dict[str, list[str]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each command, round by round."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(rounds + 1):
        for name, words in commands.items():
            began = time.perf_counter()
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if number:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def _th(*arguments: str) -> list[str]:
    return [sys.executable, "-c", _TH, *arguments]
