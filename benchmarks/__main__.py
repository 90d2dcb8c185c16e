"""Run a benchmark: ``python -m benchmarks NAME``. Without a name, list the benchmarks. See ``docs/benchmarks.md``."""

import os
from importlib import import_module

import click

from transhash.errors import TransHashError

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning idle threads would take time from others

_SUITES = ("accuracy", "encode", "public", "scaling", "search", "training")
_OTHERS = (
    "arithmetic",
    "busy",
    "cold",
    "copies",
    "databases",
    "dedup",
    "decode",
    "duplicates",
    "edits",
    "exact",
    "gpu",
    "ivf",
    "memory",
    "report",
    "rerank",
    "scan",
    "serve",
    "types",
)


class _LazyGroup(click.Group):
    """Import the module of a command only when it runs, because optional packages may be missing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_SUITES + _OTHERS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _SUITES + _OTHERS:
            return None
        command: click.Command = import_module(f".{cmd_name}", __package__).command
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except TransHashError as error:
            raise click.ClickException(str(error)) from None
        except MemoryError as error:
            raise click.ClickException(f"out of memory: {error}") from None


@click.group(cls=_LazyGroup)
def main() -> None:
    """Measure accuracy, speed and memory, and compare them with float embeddings and other libraries."""


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
