"""Run a benchmark: ``python -m benchmarks NAME``; without a name, they are listed."""

import click

from . import duplicates, encode, floats, gpu, memory, rerank, scan, search, types


@click.group()
def main() -> None:
    """Measure speed and memory, as ratios in one run."""


main.add_command(duplicates.command)
main.add_command(encode.command)
main.add_command(floats.command)
main.add_command(gpu.command)
main.add_command(memory.command)
main.add_command(rerank.command)
main.add_command(scan.command)
main.add_command(search.command)
main.add_command(types.command)

if __name__ == "__main__":
    main()
