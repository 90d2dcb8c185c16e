"""`th index`: build and info; see `index_edit` and `tune` for the others."""

from dataclasses import asdict
from pathlib import Path

import click

from . import options, render
from .index_edit import add, merge, remove, sync, verify
from .tune import tune

_NUMBER = click.IntRange(1, 1 << 24)


@click.group()
def index() -> None:
    """Build, inspect, tune and change search indexes."""


for command in (tune, add, remove, sync, merge, verify):
    index.add_command(command)


@index.command()
@click.argument("codes", type=options.EXISTING_FILE)
@click.option("-o", "--output", type=options.Output(), help="Index to write (a folder).")
@click.option("--backend", default="faiss", show_default=True, help="An installed search backend, or server: milvus.")
@click.option("--uri", help="A server's address, as http://localhost:19530, instead of -o.")
@click.option("--collection", help="What to call the images there.")
@click.option(
    "--type",
    "kind",
    metavar="TYPE",
    help="The backend's index type. Those of faiss: flat (exact, default), ivf, hnsw, hash, multihash, auto to have "
    "one chosen, or what FAISS's index factory calls it, as BIVF1024. Those of milvus: flat, ivf.",
)
@click.option("--recall", type=options.FloatRange(0.01, 1), help="For type auto: the share of neighbours to find.")
@click.option("--nlist", type=_NUMBER, help="Lists of type ivf [default: 4·√n, at most n/39].")
@options.NPROBE
@click.option("--M", "M", type=_NUMBER, help="Links of a node of type hnsw [default: 16], or a centroid of type ivf.")
@click.option("--ef-construction", type=_NUMBER, help="Nodes in sight when type hnsw is built [default: 100].")
@options.EF
@click.option("--nhash", type=_NUMBER, help="Tables of type multihash [default: one for 16 bits].")
@click.option("--b", type=_NUMBER, help="Bits that name a bucket of types hash and multihash [default: log₂ of n/4].")
@options.NFLIP
def build(
    codes: Path,
    output: Path | None,
    backend: str,
    uri: str | None,
    collection: str | None,
    kind: str | None,
    recall: float | None,
    **params: int | None,
) -> None:
    """Build a search index of the CODES file.

    \b
    Examples:
        th index build codes.h5 -o photos.index
        th index build codes.h5 -o photos.index --type ivf --nlist 1024 --nprobe 32
        th index build codes.h5 -o photos.index --type auto --recall 0.9
        th index build codes.h5 --backend milvus --uri http://localhost:19530 --collection photos

    Which type is for what: docs/tuning.md. th index tune sets the last of the parameters of a type for a recall.
    Servers: docs/milvus.md. What was stopped on its way to a server goes on when it is run again.
    """
    percent = None if recall is None else max(1, round(100 * recall))
    given = options.given(recall=percent, **params)
    if output and not (uri or collection):
        _build_here(codes, output, backend, kind, given)
    elif uri and collection and not output:
        _build_there(codes, backend, uri, collection, kind, given)
    else:
        raise click.UsageError("say where to: -o for a folder, --backend milvus --uri --collection for a server")


def _build_here(codes: Path, output: Path, backend: str, kind: str | None, params: dict[str, int]) -> None:
    from transhash.index import index

    with render.rows("codes") as report:
        built = index.build(codes, output, backend, kind, params, report)
    stored = built.manifest
    if built.reason:
        render.note(f"type {stored.info['type']}: {built.reason}")
    size = sum(file.bytes for file in stored.files.values())
    render.note(
        f"wrote {output}: {backend} {stored.info.get('type', '')}, {stored.count} codes of {stored.bits} bits, "
        f"{size / stored.count:.1f} bytes per image on disk"
    )


def _build_there(codes: Path, server: str, uri: str, name: str, kind: str | None, params: dict[str, int]) -> None:
    from transhash.index import collection

    with render.rows("codes") as report:
        built = collection.load(server).build(codes, uri, name, type=kind, params=params, report=report)
    info = built.info()
    render.note(
        f"loaded {built.location}: {info['type']}, {info['codes']} codes of {info['bits']} bits; "
        f"now: th query {built.location} IMAGE"
    )


@index.command()
@click.argument("location", metavar="INDEX", type=options.Index())
@options.JSON
def info(location: Path | str, as_json: bool) -> None:
    """Show what an INDEX holds, from its manifest alone, or what a server says.

    \b
    Examples:
        th index info photos.index
        th index info milvus://localhost:19530/photos
    """
    if isinstance(location, Path):  # which opens nothing else, and is there at once
        from transhash.index import manifest

        stored = manifest.read(location)
        described, document = stored.described(), {"format": manifest.FORMAT, **asdict(stored)}
    else:
        from transhash.index import collection

        described = document = collection.open(location).info()
    if as_json:
        render.document(document)
        return
    width = max(map(len, described))
    for name, value in described.items():
        render.line(f"{name.ljust(width)}  {value}")
