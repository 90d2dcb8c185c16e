"""Command-line options and progress output shared by all suites."""

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
