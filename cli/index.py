"""`th index`: build and info; see `index_edit` for the others."""

from dataclasses import asdict
from pathlib import Path

import click

from . import options, render
from .index_edit import add, merge, remove, sync, verify


@click.group()
def index() -> None:
    """Build, inspect and change search indexes."""


for command in (add, remove, sync, merge, verify):
    index.add_command(command)


@index.command()
@click.argument("codes", type=options.EXISTING_FILE)
@click.option("-o", "--output", type=options.Output(), required=True, help="Index to write (a folder).")
@click.option("--backend", default="faiss", show_default=True, help="An installed search backend.")
@click.option("--type", "kind", help="The backend's index type; faiss has flat (exact, default) and ivf (faster).")
@click.option("--nlist", type=click.IntRange(min=1), help="Lists of type ivf [default: 4·√n, at most n/39].")
@options.NPROBE
def build(codes: Path, output: Path, backend: str, kind: str | None, nlist: int | None, nprobe: int | None) -> None:
    """Build a search index of the CODES file.

    \b
    Examples:
        th index build codes.h5 -o photos.index
        th index build codes.h5 -o photos.index --type ivf --nlist 1024 --nprobe 32
    """
    from transhash.codes import read_codes
    from transhash.search import Index

    built = Index.build(read_codes(codes), backend, kind, options.given(nlist=nlist, nprobe=nprobe))
    stored = built.save(output)
    size = sum(file.bytes for file in stored.files.values())
    render.note(
        f"wrote {output}: {backend} {stored.info.get('type', '')}, {stored.count} codes of {stored.bits} bits, "
        f"{size / stored.count:.1f} bytes an image on disk"
    )


@index.command()
@click.argument("folder", metavar="INDEX", type=options.EXISTING)
@options.JSON
def info(folder: Path, as_json: bool) -> None:
    """Show what an INDEX holds, from its manifest alone.

    \b
    Example:
        th index info photos.index
    """
    from transhash import manifest

    stored = manifest.read(folder)
    if as_json:
        render.document({"format": manifest.FORMAT, "version": manifest.VERSION, **asdict(stored)})
        return
    described = {
        "backend": stored.backend,
        **stored.info,
        "codes": stored.count,
        "bits": stored.bits,
        "model": stored.model,
        "digest": stored.model_digest,
        "on disk": f"{sum(file.bytes for file in stored.files.values())} bytes",
    }
    width = max(map(len, described))
    for name, value in described.items():
        render.line(f"{name.ljust(width)}  {value}")
