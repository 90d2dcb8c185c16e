"""Run a benchmark: ``python -m benchmarks NAME``; without a name, they are listed. See ``docs/benchmarks.md``."""

import os
from importlib import import_module

import click

from transhash.errors import TransHashError

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # idle threads that spin steal time where cores are shared

_SUITES = ("accuracy", "encode", "public", "scaling", "search", "training")
_MORE = ("busy", "copies", "duplicates", "gpu", "memory", "report", "rerank", "scan", "serve", "types")


class _Lazy(click.Group):
    """Commands of one module each, imported when they run: what one needs, another may lack."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_SUITES + _MORE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _SUITES + _MORE:
            return None
        command: click.Command = import_module(f".{cmd_name}", __package__).command
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except TransHashError as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=_Lazy)
def main() -> None:
    """Measure accuracy, speed and memory, beside float embeddings and beside peers."""


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
