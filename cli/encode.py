"""`th encode`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

import transhash

from . import encode_report, options, render

if TYPE_CHECKING:
    from transhash.sources import ImageSource


@click.command()
@options.SOURCES
@click.option("-o", "--output", type=options.Output(), help="Codes file to write (HDF5).")
@click.option(
    "--model",
    help="copy, which finds edited copies of photos; phash, a perceptual hash; a file of th train or th fit; or "
    "hf://USER/NAME[@REVISION] on the Hugging Face Hub "
    "[default: copy; for --append and --sync, the hasher of the codes file].",
)
@click.option(
    "--bits",
    type=click.IntRange(8, 1024),
    help="Length of the codes, for a hasher with nested codes: 64, 128 or 256 for copy [default: 128 for copy].",
)
@click.option(
    "--embedder",
    type=options.EXISTING_FILE,
    help="Check that the hasher was fitted to this ONNX model (th fit --embedder). It contains a copy, "
    "which encodes.",
)
@options.SOURCE_LIST
@options.NULL
@options.INCLUDE
@options.EXCLUDE
@options.INCLUDE_HIDDEN
@click.option("--append", is_flag=True, help="Add images that have no row yet to the codes file.")
@click.option(
    "--sync", is_flag=True, help="Append, encode changed files again, and drop the rows of files that are gone."
)
@click.option("--force", is_flag=True, help="Replace a codes file of another folder or of another hasher.")
@click.option("--restart", is_flag=True, help="Start over instead of resuming an interrupted run.")
@click.option("--embeddings", is_flag=True, help="Keep the float embeddings, too: 2 bytes per number.")
@click.option("--bf16", is_flag=True, help="Compute in bfloat16: faster, but about 1 bit in several hundred differs.")
@click.option(
    "--fast",
    is_flag=True,
    help="Compute with 8-bit integers on the processor, with OpenVINO: more than twice as fast, but about one bit "
    "in fifty differs. These codes do not mix with others; queries of their index compute in the same way.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(1, 4096),
    default=32,
    show_default=True,
    help="Images that the hasher processes at once.",
)
@click.option(
    "--processes",
    type=click.IntRange(1, 4096),
    help="Processes that encode. By default one per GPU; without GPUs one, or one for every four cores of a Ray "
    "cluster.",
)
@click.option(
    "--engine",
    type=click.Choice(("local", "ray")),
    default="local",
    show_default=True,
    help="Where the processes run: this machine, or the Ray cluster that RAY_ADDRESS names.",
)
@click.option(
    "--shard",
    type=options.ShareOfImages(),
    metavar="I/N",
    help="Encode only share I of N, from 0 to N - 1, into a file of its own; th codes merge joins the shares.",
)
@click.option("--dry-run", is_flag=True, help="Count the images and show the first ones; encode nothing.")
@click.option("-q", "--quiet", is_flag=True, help="Print only errors, without progress and notes.")
@options.LOG_JSON
def encode(
    images: tuple[str, ...],
    output: Path | None,
    model: str | None,
    bits: int | None,
    embedder: Path | None,
    names: str | None,
    null: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    include_hidden: bool,
    append: bool,
    sync: bool,
    force: bool,
    restart: bool,
    embeddings: bool,
    bf16: bool,
    fast: bool,
    batch_size: int,
    processes: int | None,
    engine: str,
    shard: str | None,
    dry_run: bool,
    quiet: bool,
    log_json: bool,
) -> None:
    """Encode images into a codes file: those under a folder, in tar shards, in Parquet, or in an array.

    \b
    Examples:
        th encode photos/ -o codes.h5
        th encode photos/ -o codes.h5 --model hasher.safetensors
        th encode ~/Pictures -o codes.h5 --sync
        find . -name '*.jpg' -print0 | th encode . --list - -0 -o codes.h5
        th encode shards/*.tar -o codes.h5 --model hasher.safetensors --embeddings
        th encode photos/ -o codes.3.h5 --model hasher.safetensors --shard 3/16
        RAY_ADDRESS=head:6379 th encode photos/ -o codes.h5 --model hasher.safetensors --engine ray

    A file that cannot be read is skipped and named with the reason. The first folder below IMAGES is the label of an
    image, unless the list, table or archive gives others.

    The codes file appears when it is complete, and replaces an earlier one of the same images and hasher. After
    Ctrl-C or a kill, the same command resumes where it stopped.
    """
    if quiet:
        render.use_quiet(True)
    source = transhash.open_source(
        images, names=names, include=include, exclude=exclude, include_hidden=include_hidden, null=null
    )
    if dry_run:
        _preview(source, shard)
        return
    output = _checked_output(output, chosen=model is not None, extends=append or sync)

    with encode_report.JsonLines() if log_json else encode_report.Terminal(source.description) as reporter:
        summary = transhash.encode_to_file(
            source,
            output,
            model,
            embeddings=embeddings or None,
            append=append,
            sync=sync,
            force=force,
            restart=restart,
            shard=shard,
            bf16=bf16,
            fast=fast,
            bits=bits,
            embedder=embedder,
            batch_size=batch_size,
            processes=processes,
            engine=engine,
            on_resume=reporter.resumed,
            on_progress=reporter.progress,
            on_skipped=reporter.skipped,
        )
    reporter.summary(summary)


def _checked_output(output: Path | None, *, chosen: bool, extends: bool) -> Path:
    """Return the output, or fail without one; say which model encodes if the user chose none."""
    if output is None:
        raise click.UsageError("Missing option '-o'; to count the images only, pass --dry-run")
    if not chosen and not (extends and output.exists()):
        render.note("model: copy, which finds edited copies of photos; for other images by content, see th fit")
    return output


def _preview(source: "ImageSource", shard: str | None) -> None:
    """Print what would be encoded."""
    from transhash.encoding.preview import preview

    found = preview(source, shard)
    for item in found.first:
        render.line(f"{render.path(item.path)}  {', '.join(item.labels) or '-'}")
    render.skipped([(item.path, item.reason) for item in found.skipped])
    many = len(found.labels)
    labels = f", {many} label{'s' * (many != 1)}" if many else ""
    render.line(f"{found.images} images{labels}; {len(found.skipped)} skipped before reading")
