"""Command-line options shared by all suites."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click


def options(suite: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds --config, --small and -o."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option(
                "-o", "output", type=click.Path(dir_okay=False, path_type=Path), default=f"results/{suite}.jsonl",
                show_default=True, help="Results file; what stands in it is not measured again.",
            ),
            click.option("--small", is_flag=True, help="Two minutes on two cores."),
            click.option(
                "--config", "config_path", type=click.Path(exists=True, dir_okay=False, path_type=Path),
                help=f"TOML with settings other than those of benchmarks/configs/{suite}.toml.",
            ),
        ):  # fmt: skip
            command = option(command)
        return command

    return decorate


def given_codes() -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds --codes."""
    return click.option(
        "--codes", "pairs", type=(_file(), _file()), multiple=True, metavar="DATABASE QUERIES",
        help="Two files of th encode --embeddings; repeatable.",
    )  # fmt: skip


def say(line: str) -> None:
    """Tell how far it is, beside the output."""
    click.echo(line, err=True)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what a library writes to the standard error, below Python."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _file() -> click.Path:
    return click.Path(exists=True, dir_okay=False, path_type=Path)
