"""`th soup`."""

from pathlib import Path

import click

from . import options, render


@click.command()
@click.argument("hashers", nargs=-1, required=True, type=options.EXISTING_FILE)
@click.option("-o", "--output", type=options.Output(), required=True, help="Hasher to write (safetensors).")
def soup(hashers: tuple[Path, ...], output: Path) -> None:
    """Average the weights of HASHERS that were trained from the same weights: better codes, at no cost in encoding.

    \b
    Example:
        th train photos/ -o a.safetensors --weights start.safetensors --crop 0.4
        th train photos/ -o b.safetensors --weights start.safetensors --cutmix 0.5 --seed 1
        th soup a.safetensors b.safetensors -o hasher.safetensors

    Runs that differ in seed, augmentation or length make the best soups. They need the same network, bits, classes
    and objective: orthohash, csq or dpn.
    """
    from transhash.hashers.header import check_replaceable
    from transhash.training import soup as kitchen

    check_replaceable(output)
    mean = kitchen.soup(hashers)
    mean.save(output)
    render.note(f"wrote {output}: {mean.architecture.bits} bits, the mean of {len(hashers)} hashers")
