"""Run a benchmark: ``python -m benchmarks search``, ``encode`` or ``duplicates``."""

import click

from . import duplicates, encode, search


@click.group()
def main() -> None:
    """Measure speed and memory, as ratios in one run."""


main.add_command(duplicates.command)
main.add_command(encode.command)
main.add_command(search.command)

if __name__ == "__main__":
    main()
