"""`th query`."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options, render

if TYPE_CHECKING:
    from transhash.codes import Codes
    from transhash.filters import Mask
    from transhash.results import Matches, RangeMatches
    from transhash.search import Index

_K = 10
_COLUMNS = ("rank", "distance", "label", "path")


@click.command()
@click.argument("folder", metavar="INDEX", type=options.EXISTING)
@click.argument("queries", nargs=-1, required=True, type=options.EXISTING)
@click.option("-k", type=click.IntRange(1, 1_000_000), help=f"How many matches [default: {_K}].")
@click.option("--radius", type=click.IntRange(0, 1024), help="All matches within so many bits; with -k, at most k.")
@options.NPROBE
@options.GLOB
@click.option("--label", "labels", multiple=True, help="Images with this label.")
@click.option(
    "--ids",
    "numbers",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Images whose ids this text file lists, one a line; - is standard input.",
)
@click.option("--model", help="The hasher, if it is no longer where the images were encoded with it.")
@options.JSON
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--sheet", type=options.Output(), help="Also draw queries and matches as one PNG picture.")
def query(
    folder: Path,
    queries: tuple[Path, ...],
    k: int | None,
    radius: int | None,
    nprobe: int | None,
    globs: tuple[str, ...],
    labels: tuple[str, ...],
    numbers: str | None,
    model: str | None,
    as_json: bool,
    as_csv: bool,
    sheet: Path | None,
) -> None:
    """Find the images of an INDEX that are most like the QUERIES: image files, or one codes file.

    \b
    Examples:
        th query photos.index cat.jpg dog.jpg -k 10
        th query photos.index cat.jpg --radius 6 --json
        th query photos.index cat.jpg --sheet matches.png
        th query photos.index cat.jpg --glob 'cats/*' --glob 'dogs/*' --label young

    Distances are differing bits; equal distances come in the order of encoding. Of --glob, --label and --ids an image
    must pass each that is given, by any of its values.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")

    from transhash.codes import is_codes_file
    from transhash.search import Index

    if sheet:
        from .sheet import check_replaceable

        check_replaceable(sheet, queries)
    opened = Index.open(folder)
    allowed = _allowed(opened, globs, labels, numbers)
    codes = _codes(queries, opened, model)
    params = options.given(nprobe=nprobe)
    if radius is None:
        found: Matches | RangeMatches = opened.search(codes, k or _K, params, allowed)
    else:
        found = opened.range_search(codes, radius, params, allowed)
    answers = [_answer(opened, codes, found, place, k) for place in range(len(codes))]
    if as_json:
        render.document(
            {"index": str(folder), "bits": opened.model.bits, "k": k, "radius": radius, "queries": answers}
        )
    elif as_csv:
        render.csv_rows(("query", *_COLUMNS), _rows(answers))
    else:
        _tables(answers)
    if sheet:
        from .sheet import draw

        draw(answers, sheet)
        render.note(f"wrote {sheet}")
    if codes.skipped and not is_codes_file(queries[0]):
        sys.exit(1)


def _codes(queries: tuple[Path, ...], index: "Index", model: str | None) -> "Codes":
    """Read a codes file, or encode image files with the index's own model."""
    from transhash.codes import is_codes_file, read_codes
    from transhash.encoding import encode
    from transhash.errors import ModelError
    from transhash.hashers import load_hasher
    from transhash.search import check_same_model

    if is_codes_file(queries[0]):
        if len(queries) > 1 or model:
            raise click.UsageError("a codes file is queried alone, and brings its model")
        return read_codes(queries[0])
    name = model or index.model.name
    if name != "phash" and not os.path.isfile(name):
        raise ModelError(f"{name}: the hasher of this index is not there; pass --model FILE")
    hasher = load_hasher(name, len(queries))
    check_same_model(hasher.ref, index.model, "queries", "index")
    codes = encode(queries, hasher)
    render.skipped(codes.skipped)
    return codes


def _allowed(index: "Index", globs: tuple[str, ...], labels: tuple[str, ...], numbers: str | None) -> "Mask | None":
    """Return the rows that pass all filters, None if there are no filters."""
    from transhash import filters

    allowed = filters.globs(index, globs) if globs else None
    allowed = filters.both(allowed, filters.labels(index, labels) if labels else None)
    return filters.both(allowed, filters.ids(index, options.ids(numbers)) if numbers else None)


def _answer(
    index: "Index", codes: "Codes", found: "Matches | RangeMatches", place: int, k: int | None
) -> dict[str, Any]:
    ids, distances = found.row(place)
    return {
        "query": codes.records.path(place),
        "matches": [
            {
                "rank": rank,
                "id": int(row),
                "distance": int(distance),
                "label": ", ".join(index.labels(row)) or None,
                "path": index.path(row),
            }
            for rank, (row, distance) in enumerate(zip(ids[:k], distances[:k], strict=True), start=1)
        ],
    }


def _rows(answers: list[dict[str, Any]]) -> Iterator[list[object]]:
    for answer in answers:
        for match in answer["matches"]:
            yield [answer["query"], *(match[column] for column in _COLUMNS)]


def _tables(answers: list[dict[str, Any]]) -> None:
    for answer in answers:
        render.line(answer["query"])
        labelled = any(match["label"] is not None for match in answer["matches"])
        columns = [column for column in _COLUMNS if labelled or column != "label"]
        rows = [
            [match[column] if match[column] is not None else "" for column in columns] for match in answer["matches"]
        ]
        if rows:
            render.table(columns, rows, indent="  ")
        else:
            render.line("  no matches")
