"""`th codes info`, `verify`, `merge`, `truncate`, `export` and `import`."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options, render

if TYPE_CHECKING:
    from transhash.codes import CodesFile, ModelRef
    from transhash.codes.exchange import Row

_FORMATS = (".csv", ".npy", ".parquet")
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
    """Show what a codes FILE holds.

    \b
    Example:
        th codes info codes.h5
    """
    from transhash.codes import open_codes

    with open_codes(file, embeddings=False) as opened:
        described = _described(opened)
    if as_json:
        render.document(described)
        return
    labels, skipped = described["labels"], described["skipped"]
    described["labels"] = _counts(labels, f"{len(labels)} classes")
    described["skipped"] = _counts(skipped, f"{sum(skipped.values())} files")
    width = max(map(len, described))
    for name, value in described.items():
        shown = "-" if value is None or value == "" else f"{value:.1f}" if isinstance(value, float) else value
        render.line(f"{name.replace('_', ' ').ljust(width)}  {shown}")


@codes.command()
@click.argument("files", nargs=-1, required=True, type=options.EXISTING_FILE)
def verify(files: tuple[Path, ...]) -> None:
    """Compare codes FILES with their checksums; the first that is damaged ends it.

    \b
    Example:
        th codes verify codes.h5
    """
    from transhash import codes

    for file in files:
        with render.rows() as show:
            found = codes.verify(file, show)
        if found.digest:
            render.line(f"{file}: {found.rows} rows are what was written; digest {found.digest}")
        else:
            render.line(f"{file}: {found.rows} rows can be read; version 0 has no checksums")


@codes.command()
@click.argument("files", nargs=-1, required=True, type=options.EXISTING_FILE)
@_CODES
@click.option("--partial", is_flag=True, help="Join shares (th encode --shard) although some are missing.")
def merge(files: tuple[Path, ...], output: Path, partial: bool) -> None:
    """Join codes FILES of one model into one, in the order given.

    \b
    Examples:
        th codes merge monday.h5 tuesday.h5 -o week.h5
        th codes merge codes.*.h5 -o codes.h5

    The output may be one of the files. Where they were encoded from different folders, paths become absolute. Shares
    must all be there.
    """
    from transhash import codes

    with render.rows() as show:
        count = codes.merge([(file, None) for file in files], output, partial=partial, on_rows=show)
    render.note(f"wrote {output}: {count} codes of {len(files)} files")


@codes.command()
@_FILE
@_CODES
@click.option("--bits", type=click.IntRange(8, 1024), required=True, help="Bits to keep, a multiple of 8.")
@click.option("--force", is_flag=True, help="Cut codes of a model that was not trained for this length, too.")
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
    render.note(f"wrote {output}: {count} codes of {bits} bits")


@codes.command()
@_FILE
@click.option("-o", "--output", type=options.Output(), required=True, help="File to write: .csv, .npy or .parquet.")
def export(file: Path, output: Path) -> None:
    """Write a codes FILE as CSV, a NumPy array or Parquet, by the name of the output.

    \b
    Examples:
        th codes export codes.h5 -o codes.csv
        th codes export codes.h5 -o codes.npy
        th codes export codes.h5 -o codes.parquet

    CSV has paths, labels and codes in hexadecimal; .npy nothing but the packed codes, (n, bits/8) uint8; Parquet all
    but what was skipped, and needs pyarrow: pip install 'transhash[parquet]'.
    """
    _check_format(output)
    from transhash.codes import exchange

    with render.rows() as show:
        count = exchange.export_codes(file, output, show)
    render.note(f"wrote {output}: {count} rows, {output.stat().st_size} bytes")


@codes.command("import")
@_FILE
@_CODES
@click.option("--model", help="What made the codes: phash, a hasher, or any other name.")
@click.option("--root", type=options.EXISTING_FOLDER, help="Folder that the paths are relative to.")
@click.option(
    "--bits", type=click.IntRange(8, 1024), help="Width of a code in a .npy, where its type leaves it open."
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
    positive. Codes can be compared if their --model is the same.
    """
    _check_format(file)
    if file.suffix.lower() != ".npy" and (bits or names):
        raise click.UsageError("--bits and --list belong to a .npy")
    from transhash.codes import check_replaceable, exchange

    check_replaceable(output)
    table = exchange.open_table(file, bits, _Listed(names, root) if names else None)
    if model is None and table.model is None:
        raise click.UsageError(f"{file} does not say what made its codes; say it: --model NAME")
    ref = _model(model, table.bits) if model else table.model
    assert ref is not None
    folder = os.fsencode(os.path.abspath(root)) if root else table.root or b""
    with render.rows() as show:
        count = exchange.import_table(table, output, ref, folder, show)
    render.note(f"wrote {output}: {count} codes of {table.bits} bits")


class _Listed:
    """Path and labels of every image that a list names, as often as they are asked for."""

    def __init__(self, names: Path, root: Path | None) -> None:
        from transhash.sources.lists import ListSource

        self._source = ListSource(root or ".", names)

    def __iter__(self) -> Iterator["Row"]:
        for item in self._source.entries():
            yield item.path, item.labels


def _model(name: str, bits: int) -> "ModelRef":
    """Return the hasher of a name; any other name stands for itself."""
    from transhash.codes import ModelRef
    from transhash.hashers import load_hasher

    if name == "phash" or name.endswith(".safetensors") or os.path.isfile(name):
        return load_hasher(name).ref
    return ModelRef(name, name, bits)


def _check_format(path: Path) -> None:
    if path.suffix.lower() not in _FORMATS:
        raise click.UsageError(f"{path}: no format for such a name; choose one that ends in {', '.join(_FORMATS)}")


def _described(file: "CodesFile") -> dict[str, Any]:
    header = file.header
    return {
        "format_version": header.version,
        "rows": len(file),
        "bits": header.model.bits,
        "model": header.model.name,
        "model_digest": header.model.digest,
        "preprocessing": header.model.preprocessing,
        "root": os.fsdecode(header.root),
        "share": header.share,
        "labels_a_row": file.labels,
        "labels": _label_counts(file),
        "embeddings": file.embeddings,
        "sizes_and_times": file.stats,
        "skipped": dict(Counter(reason.partition(":")[0] for _, reason in file.skipped()).most_common()),
        "bytes_a_row": file.path.stat().st_size / len(file) if len(file) else None,
        "digest": header.digest or None,
    }


def _label_counts(file: "CodesFile") -> dict[str, int]:
    """Return how many rows have each label, the most frequent first."""
    import numpy as np

    counts = np.zeros(len(file.label_names), dtype=np.int64)
    for _, block in file.blocks(embeddings=False):
        labels = block.records.labels
        if labels is not None:
            counts += np.bincount(labels[labels >= 0], minlength=len(counts))
    return dict(Counter(dict(zip(file.label_names, counts.tolist(), strict=True))).most_common())


def _counts(counts: dict[str, int], total: str) -> str:
    if not counts:
        return "none"
    shown = ", ".join(f"{name} {count}" for name, count in list(counts.items())[:_TOP])
    return f"{total}: {shown}{', …' if len(counts) > _TOP else ''}"
