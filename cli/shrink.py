"""`th shrink`."""

from pathlib import Path

import click

import transhash

from . import options, render


@click.command()
@click.argument("hasher", type=options.EXISTING_FILE)
@click.option("-o", "--output", type=options.Output(), required=True, help="Hasher to write (safetensors).")
@click.option(
    "--weights",
    type=click.Choice(("int8", "fp16", "fp32")),
    default="int8",
    show_default=True,
    help="Bytes of a weight: one, with a scale for every row of a matrix; two; or four.",
)
def shrink(hasher: Path, output: Path, weights: str) -> None:
    """Write a copy of HASHER whose weights take fewer bytes.

    \b
    Example:
        th shrink hasher.safetensors -o small.safetensors

    The copy encodes at the same speed. A few bits of its codes differ, so encode queries and database with the same
    file.
    """
    before = hasher.stat().st_size
    after = transhash.shrink_hasher(hasher, output, weights).stat().st_size
    render.note(f"wrote {output}: {after / 1e6:.1f} MB instead of {before / 1e6:.1f} MB, weights as {weights}")
