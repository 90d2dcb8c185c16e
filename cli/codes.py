"""`th codes info`, `verify`, `merge`, `truncate`, `export` and `import`."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options, render

if TYPE_CHECKING:
    from transhash.codes.describing import Description

_FORMATS = (".csv", ".npy", ".parquet")
_EXPORTS = (*_FORMATS, ".db", ".ndjson")
_DATABASES = ["duckdb", "elasticsearch", "opensearch", "vespa"]
_TOP = 5  # labels that are shown

_FILE = click.argument("file", type=options.EXISTING_FILE)
_CODES = click.option("-o", "--output", type=options.Output(), required=True, help="Codes file to write (HDF5).")


@click.group()
def codes() -> None:
    """Inspect, check, join and convert codes files."""


@codes.command()
@_FILE
@options.JSON
def info(file: Path, as_json: bool) -> None:
    """Show the contents of a codes FILE.

    \b
    Example:
        th codes info codes.h5
    """
    import transhash

    described = _document(transhash.describe_codes(file))
    if as_json:
        render.document(described)
        return
    labels, skipped = described["labels"], described["skipped"]
    described["labels"] = _counts(labels, f"{len(labels)} class{'es' * (len(labels) != 1)}")
    described["skipped"] = _counts(skipped, f"{(files := sum(skipped.values()))} file{'s' * (files != 1)}")
    width = max(map(len, described))
    for name, value in described.items():
        shown = "-" if value is None or value == "" else f"{value:.1f}" if isinstance(value, float) else value
        render.line(f"{name.replace('_', ' ').ljust(width)}  {shown}")


@codes.command()
@click.argument("files", nargs=-1, required=True, type=options.EXISTING_FILE)
def verify(files: tuple[Path, ...]) -> None:
    """Compare codes FILES with their checksums, up to the first that is damaged.

    \b
    Example:
        th codes verify codes.h5
    """
    import transhash

    for file in files:
        with render.rows() as show:
            found = transhash.verify_codes(file, show)
        if found.digest:
            render.line(f"{file}: {render.counted(found.rows, 'row')} intact; digest {found.digest}")
        else:
            render.line(f"{file}: {render.counted(found.rows, 'row')} can be read; version 0 has no checksums")


@codes.command()
@click.argument("files", nargs=-1, required=True, type=options.EXISTING_FILE)
@_CODES
@click.option("--partial", is_flag=True, help="Join shares (th encode --shard) even if some are missing.")
def merge(files: tuple[Path, ...], output: Path, partial: bool) -> None:
    """Join codes FILES of one model into one, in the order given.

    \b
    Examples:
        th codes merge monday.h5 tuesday.h5 -o week.h5
        th codes merge codes.*.h5 -o codes.h5

    The output may be one of the files. Where they were encoded from different folders, paths become absolute. All
    shares must be given. Rows that occur in several files are kept once; a path with two codes is refused.
    """
    import transhash

    with render.rows() as show:
        count = transhash.merge_codes(files, output, partial=partial, on_rows=show)
    render.note(f"wrote {output}: {render.counted(count, 'code')} from {render.counted(len(files), 'file')}")


@codes.command()
@_FILE
@_CODES
@click.option("--bits", type=click.IntRange(8, 1024), required=True, help="Bits to keep, a multiple of 8.")
@click.option("--force", is_flag=True, help="Also truncate codes of a model that was not trained for this length.")
def truncate(file: Path, output: Path, bits: int, force: bool) -> None:
    """Keep the first bits of the codes in a FILE made by a hasher of nested codes (th train --nested).

    \b
    Example:
        th codes truncate codes.h5 --bits 32 -o short.h5

    An index of the short codes can be searched with images, and with whole codes of the same hasher: they are cut,
    too.
    """
    import transhash

    with render.rows() as show:
        count = transhash.truncate_codes(file, bits, output, force=force, on_rows=show)
    render.note(f"wrote {output}: {render.counted(count, 'code')} of {bits} bits")


@codes.command()
@_FILE
@click.option(
    "-o",
    "--output",
    type=options.Output(),
    required=True,
    help="File to write: .csv, .npy, .parquet, .db or .ndjson.",
)
@click.option(
    "--for", "database", type=click.Choice(_DATABASES), help="Database that will load the .ndjson or .parquet file."
)
def export(file: Path, output: Path, database: str | None) -> None:
    """Write a codes FILE as CSV, a NumPy array, Parquet, SQLite or NDJSON, by the name of the output.

    \b
    Examples:
        th codes export codes.h5 -o codes.csv
        th codes export codes.h5 -o codes.npy
        th codes export codes.h5 -o codes.parquet --for duckdb
        th codes export codes.h5 -o photos.db
        th codes export codes.h5 -o bulk.ndjson --for elasticsearch

    CSV has ids, paths, labels and codes in hexadecimal; .npy only the packed codes, (n, bits/8) uint8; Parquet
    everything except the skipped images, and needs pyarrow: pip install 'transhash[parquet]'. A .db is for SQLite and
    sqlite-vec.
    docs/databases.md has a recipe for each database.
    """
    _check_format(output, _EXPORTS)
    import transhash

    with render.rows() as show:
        count = transhash.export_codes(file, output, show, database=database)
    render.note(f"wrote {output}: {render.counted(count, 'row')}, {render.size(output.stat().st_size)}")


@codes.command("import")
@_FILE
@_CODES
@click.option("--model", help="What made the codes: phash, a hasher, or any other name.")
@click.option("--root", type=options.EXISTING_FOLDER, help="Folder that the paths are relative to.")
@click.option(
    "--bits",
    type=click.IntRange(8, 1024),
    help="Length of a code in bits, if the type of a .npy file leaves it open.",
)
@click.option("--list", "names", type=options.EXISTING_FILE, help="Paths and labels of a .npy, as for th encode.")
def import_codes(
    file: Path, output: Path, model: str | None, root: Path | None, bits: int | None, names: Path | None
) -> None:
    """Make a codes file of a FILE that th codes export wrote, or of codes of another method.

    \b
    Examples:
        th codes import codes.parquet -o codes.h5
        th codes import codes.csv -o codes.h5 --model hasher.safetensors --root photos/
        th codes import signs.npy -o codes.h5 --model hashnet --list database.txt

    A .npy holds packed codes, (n, bits/8) uint8, or signs of any other type, (n, bits): a bit is 1 where they are
    positive. An int8 array of other values than -1, 0 and 1 holds packed codes less 128, as sentence-transformers
    writes them. Codes can be compared if their --model is the same.
    """
    _check_format(file)
    if file.suffix.lower() != ".npy" and (bits or names):
        raise click.UsageError("--bits and --list apply only to .npy files")
    import transhash

    with render.rows() as show:
        count = transhash.import_codes(file, output, model=model, root=root, bits=bits, names=names, on_rows=show)
    render.note(f"wrote {output}: {render.counted(count, 'code')}")


def _check_format(path: Path, formats: tuple[str, ...] = _FORMATS) -> None:
    if path.suffix.lower() not in formats:
        raise click.UsageError(f"{path}: unknown format; choose a name that ends in {', '.join(formats)}")


def _document(found: "Description") -> dict[str, Any]:
    header = found.header
    return {
        "format_version": header.version,
        "rows": found.rows,
        "bits": header.model.bits,
        "model": header.model.name,
        "model_digest": header.model.digest,
        "preprocessing": header.model.preprocessing,
        "root": os.fsdecode(header.root),
        "share": header.share,
        "labels_a_row": found.labels_per_row,
        "labels": found.labels,
        "embeddings": found.embeddings,
        "sizes_and_times": found.stats,
        "skipped": found.skipped,
        "bytes_a_row": found.file_size / found.rows if found.rows else None,
        "digest": header.digest or None,
    }


def _counts(counts: dict[str, int], total: str) -> str:
    if not counts:
        return "none"
    shown = ", ".join(f"{name} {count}" for name, count in list(counts.items())[:_TOP])
    return f"{total}: {shown}{', …' if len(counts) > _TOP else ''}"
