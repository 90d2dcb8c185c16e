"""`th export`."""

from pathlib import Path

import click

import transhash

from . import options, render


@click.command()
@click.argument("hasher", type=options.Hasher())
@click.option(
    "-o", "--output", type=options.Output(), required=True, help="ONNX file to write; its name ends in .onnx."
)
@click.option("--bits", type=click.IntRange(8, 1024), help="Length of nested codes.  [default: the longest]")
def export(hasher: str, output: Path, bits: int | None) -> None:
    """Write HASHER, a name or a file, to an ONNX file that other programs can run.

    \b
    Examples:
        th export copy -o copy.onnx --bits 128
        th export hasher.safetensors -o hasher.onnx

    The input "images" is a batch of preprocessed images, uint8 (n, side, side, 3). The output "codes" is a batch of
    packed codes, uint8 (n, bits/8), as in codes files. The metadata say how to preprocess. Needs the extra onnx.
    """
    path = transhash.export_hasher(hasher, output, bits)
    render.note(f"wrote {path}: {render.size(path.stat().st_size)}")
