"""`th soup`."""

from pathlib import Path

import click

import transhash

from . import options, render


@click.command()
@click.argument("hashers", nargs=-1, required=True, type=options.EXISTING_FILE)
@click.option("-o", "--output", type=options.Output(), required=True, help="Hasher to write (safetensors).")
def soup(hashers: tuple[Path, ...], output: Path) -> None:
    """Average the weights of HASHERS trained from the same start, for better codes at the same speed.

    \b
    Example:
        th train photos/ -o a.safetensors --weights start.safetensors --crop 0.4
        th train photos/ -o b.safetensors --weights start.safetensors --cutmix 0.5 --seed 1
        th soup a.safetensors b.safetensors -o hasher.safetensors

    The best soups come from runs that differ in seed, augmentation or length. All runs need the same network, number
    of bits, classes and objective, which must be orthocauchy, orthohash, csq or dpn.
    """
    hasher = transhash.soup(hashers, output)
    render.note(f"wrote {output}: {hasher.architecture.bits} bits, the mean of {len(hashers)} hashers")
