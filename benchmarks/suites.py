"""Command-line options and progress output shared by all suites."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from transhash.packing import MAX_BITS, check_bits


class _Bits(click.ParamType[int]):
    """The length of a code."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number, or fail if no code has this length."""
        try:
            return check_bits(click.INT.convert(value, param, ctx))
        except ValueError as error:
            self.fail(str(error), param, ctx)


BITS = _Bits()
COUNT = click.IntRange(min=1)
RADIUS = click.IntRange(0, MAX_BITS)
SEED = click.IntRange(min=0)


def options(suite: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds --config, --small and -o."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option(
                "-o", "output", type=click.Path(dir_okay=False, path_type=Path), default=f"results/{suite}.jsonl",
                show_default=True, help="Results file. Measurements already in it are not repeated.",
            ),
            click.option("--small", is_flag=True, help="Run a small version: about two minutes on two cores."),
            click.option(
                "--config", "config_path", type=click.Path(exists=True, dir_okay=False, path_type=Path),
                help=f"TOML file that overrides settings of benchmarks/configs/{suite}.toml.",
            ),
        ):  # fmt: skip
            command = option(command)
        return command

    return decorate


def codes_option() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds --codes."""
    return click.option(
        "--codes", "pairs", type=(_file(), _file()), multiple=True, metavar="DATABASE QUERIES",
        help="Codes files of th encode --embeddings; repeatable.",
    )  # fmt: skip


def check_radii(radii: Sequence[int], bits: Sequence[int]) -> None:
    """Raise UsageError if a radius is larger than the length of a code."""
    if radii and max(radii) > min(bits):
        raise click.UsageError(f"--radius {max(radii)}: more than the {min(bits)} bits of a code")


def check_neighbours(ks: Sequence[int], counts: Sequence[int]) -> None:
    """Raise UsageError if more neighbours are to be found than there are codes."""
    if max(ks) > min(counts):
        raise click.UsageError(f"-k {max(ks)}: more than the {counted(min(counts), 'code')} of -n")


def counted(count: int, noun: str) -> str:
    """Return a number of things as text: "1 round", "12,345 codes"."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def show_progress(line: str) -> None:
    """Print a line to standard error."""
    click.echo(line, err=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Discard what native code writes to file descriptor 2."""
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _file() -> click.Path:
    return click.Path(exists=True, dir_okay=False, path_type=Path)
