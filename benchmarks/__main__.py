"""Run a benchmark suite: ``python -m benchmarks search``."""

import click

from . import search


@click.group()
def main() -> None:
    """Measure speed and memory, as ratios in one run."""


main.add_command(search.command)

if __name__ == "__main__":
    main()
