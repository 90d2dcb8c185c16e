"""`th index build` and `th index info`; the other subcommands are in `index_edit` and `tune`."""

from pathlib import Path

import click

from . import options, render
from .index_edit import add, compact, export, merge, remove, sync, verify
from .tune import tune

_NUMBER = click.IntRange(1, 1 << 24)


@click.group()
def index() -> None:
    """Build, inspect, tune and change search indexes."""


for command in (tune, add, remove, sync, compact, merge, export, verify):
    index.add_command(command)


@index.command()
@click.argument("codes", type=options.EXISTING_FILE)
@click.option(
    "-o",
    "--output",
    type=options.NewIndex(),
    required=True,
    help="Index to write: a folder, postgresql://HOST/DATABASE/NAME, milvus://HOST:PORT/NAME or lance://FOLDER/NAME.",
)
@click.option(
    "--type",
    "kind",
    metavar="TYPE",
    help="Index type. In a folder, a FAISS type: flat (exact, default), mih (exact), ivf, hnsw, hash, multihash, "
    "auto to choose one, or a FAISS factory string such as BIVF1024; BACKEND or BACKEND:TYPE selects another "
    "installed backend. In PostgreSQL: flat, ivf, hnsw. On Milvus and LanceDB: flat, ivf.",
)
@click.option("--force", is_flag=True, help="Replace an index of another model or of another image folder.")
@click.option("--recall", type=options.FloatRange(0.01, 1), help="Type auto: share of the true neighbours to find.")
@click.option("--nlist", type=_NUMBER, help="Type ivf: number of lists [default: 4·√n, at most n/39].")
@options.NPROBE
@click.option(
    "--M", "M", type=_NUMBER, help="Links per node of type hnsw [default: 16], or per centroid of type ivf."
)
@click.option(
    "--ef-construction", type=_NUMBER, help="Type hnsw: number of candidates kept while building [default: 100]."
)
@options.EF
@click.option("--nhash", type=_NUMBER, help="Type multihash: number of hash tables [default: one per 16 bits].")
@click.option("--b", type=_NUMBER, help="Types hash and multihash: bits of a bucket's key [default: log₂ of n/4].")
@options.NFLIP
def build(
    codes: Path,
    output: Path | str,
    kind: str | None,
    force: bool,
    recall: float | None,
    **params: int | None,
) -> None:
    """Build a search index from the CODES file.

    \b
    Examples:
        th index build codes.h5 -o photos.index
        th index build codes.h5 -o photos.index --type ivf --nlist 1024 --nprobe 32
        th index build codes.h5 -o photos.index --type auto --recall 0.9
        th index build codes.h5 -o postgresql://localhost/images/photos
        th index build codes.h5 -o milvus://localhost:19530/photos

    docs/tuning.md compares the types. th index tune sets the search parameter for a recall. docs/postgres.md and
    docs/milvus.md describe databases; an interrupted upload starts again or resumes when the command is run again.
    """
    import transhash

    with render.rows("codes") as progress:
        built = transhash.build_index(
            codes,
            output,
            type=kind,
            recall=recall,
            params=options.given(**params),
            force=force,
            progress=progress,
        )
    info = built.info()
    if built.reason:
        render.note(f"type {info['type']}: {built.reason}")
    size = f", {int(info['bytes']) / int(info['codes']):.1f} bytes per image on disk" if "bytes" in info else ""
    what = f"{info['backend']} {info['type']}, {info['codes']} codes of {info['bits']} bits"
    render.note(f"wrote {built.location}: {what}{size}")


@index.command()
@click.argument("location", metavar="INDEX", type=options.Index())
@options.JSON
def info(location: Path | str, as_json: bool) -> None:
    """Show the type, size and model of an INDEX. For a folder, only the manifest is read.

    \b
    Examples:
        th index info photos.index
        th index info milvus://localhost:19530/photos
    """
    import transhash

    described = transhash.index_info(location)
    if as_json:
        render.document(described)
        return
    width = max(map(len, described))
    for name, value in described.items():
        render.line(f"{name.ljust(width)}  {value}")
