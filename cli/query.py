"""`th query`."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from . import options, render

if TYPE_CHECKING:
    from transhash.index.contract import Collection
    from transhash.index.filters import Filter
    from transhash.index.matches import Match, Matches

_COLUMNS = ("rank", "score", "distance", "verdict", "label", "path")
_DIGITS = 4  # decimals of a score
_STDIN = "-"
_PNG = b"\x89PNG\r\n\x1a\n"
_ORDERS = ("asymmetric", "embeddings")


@click.command()
@click.argument("location", metavar="INDEX", type=options.Index())
@click.argument("queries", nargs=-1, type=click.Path(exists=True, allow_dash=True))
@click.option(
    "--like",
    multiple=True,
    metavar="ID|PATH",
    help="Search for an image of the INDEX instead, by its stored code: its id or its path.",
)
@click.option(
    "-k",
    type=click.IntRange(1, 1_000_000),
    help="Number of matches, at any distance. [default: 10, without unrelated images if the model has verdicts]",
)
@click.option("--radius", type=click.IntRange(0, 1024), help="All matches within this many bits; with -k, at most k.")
@options.NPROBE
@options.EF
@options.NFLIP
@options.GLOB
@click.option("--label", "labels", multiple=True, help="Images with this label.")
@click.option(
    "--ids",
    "numbers",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Images whose ids this text file lists, one per line; - is standard input.",
)
@click.option(
    "--rerank",
    "order",
    type=click.Choice(_ORDERS),
    help="Re-rank the nearest codes by the query's real-valued outputs (asymmetric) or by embeddings.",
)
@click.option(
    "--candidates",
    type=click.IntRange(1, 1_000_000),
    help="Number of nearest codes that --rerank reorders [default: ten times -k, at least 100].",
)
@click.option(
    "--embeddings",
    type=options.EXISTING_FILE,
    help="Codes file with the embeddings of the images in the INDEX, for --rerank embeddings.",
)
@options.DEVICE
@click.option("--mmap", is_flag=True, help="Memory-map the INDEX, which may be larger than memory.")
@click.option("--model", help="File of the hasher, if it has moved, or its location on the hub.")
@options.JSON
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--sheet", type=options.Output(), help="Also draw queries and matches as one PNG picture.")
@click.option("--html", "page", type=options.Output(), help="Also draw them as one page of HTML, with thumbnails.")
def query(
    location: Path | str,
    queries: tuple[str, ...],
    like: tuple[str, ...],
    k: int | None,
    radius: int | None,
    nprobe: int | None,
    ef: int | None,
    nflip: int | None,
    globs: tuple[str, ...],
    labels: tuple[str, ...],
    numbers: str | None,
    order: str | None,
    candidates: int | None,
    embeddings: Path | None,
    device: str,
    mmap: bool,
    model: str | None,
    as_json: bool,
    as_csv: bool,
    sheet: Path | None,
    page: Path | None,
) -> None:
    """Find the images in an INDEX that are most similar to the QUERIES: images, or one codes file.

    \b
    Examples:
        th query photos.index cat.jpg dog.jpg -k 10
        th query photos.index cat.jpg --radius 6 --json
        th query photos.index cat.jpg --sheet matches.png --html matches.html
        th query photos.index --like 7 --like cats/0.png
        curl https://example.org/cat.jpg | th query photos.index -
        th query photos.index cat.jpg --glob 'cats/*' --glob 'dogs/*' --label young
        th query photos.index cat.jpg --rerank asymmetric
        th query milvus://localhost:19530/photos cat.jpg

    A query - is an image on standard input. A distance is the number of differing bits; ties are in the order of
    encoding. Values of one of --glob, --label and --ids are ORed; different options are ANDed.

    With copy, the built-in hasher, a match is a copy, likely one, or unrelated. Without -k and --radius, unrelated
    images are left out.
    """
    _check_forms(as_json, as_csv)
    _check_order(order, candidates, embeddings, radius)
    _check_queries(queries, like, order, model)

    import transhash

    _check_outputs(sheet, page, queries)
    index = transhash.open(location, mmap)
    if device != "cpu":
        _to_device(index, device)
    where, params = _where(globs, labels, numbers), options.given(nprobe=nprobe, ef=ef, nflip=nflip)
    if like:
        matches = index.like([_image(text) for text in like], k, radius=radius, where=where, params=params)
    else:
        matches = index.search(
            _read(queries),
            k,
            radius=radius,
            where=where,
            params=params,
            hasher=model,
            rerank=order,
            candidates=candidates,
            embeddings=embeddings,
        )
    render.skipped([(os.fsencode(path), reason) for path, reason in matches.skipped])
    missing = [name for name, known in (("score", order), ("verdict", matches.verdicts)) if not known]
    columns = [column for column in _COLUMNS if column not in missing]
    if as_json:
        document = {"index": str(location), "bits": index.model.bits, "k": k, "radius": matches.radius}
        render.document({**document, "queries": _answers(matches)})
    elif as_csv:
        render.csv_rows(("query", *columns), _rows(matches, columns))
    else:
        _tables(matches, columns)
    _draw(matches, sheet, page)


def _check_queries(queries: tuple[str, ...], like: tuple[str, ...], order: str | None, model: str | None) -> None:
    """Fail unless there are either queries or images of the index."""
    if not queries and not like:
        raise click.UsageError("no query: name image files, or images of the INDEX with --like")
    if queries and like:
        raise click.UsageError("QUERIES and --like cannot be combined; choose one")
    if like and (order or model):
        raise click.UsageError("--like takes stored codes: --rerank and --model cannot be combined with it")
    if queries.count(_STDIN) > 1:
        raise click.UsageError("- can be given once: standard input holds one image")


def _image(text: str) -> int | str:
    """Return an id as a number, and a path as it is; ./7 is the path of a file called 7."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 20 else text


def _read(queries: tuple[str, ...]) -> list[str | BinaryIO]:
    """Return the paths of the queries, and standard input for -."""
    return [sys.stdin.buffer if query == _STDIN else query for query in queries]


def _to_device(index: "Collection", device: str) -> None:
    """Search on a GPU if possible; otherwise on the CPU, with a note if the user named the device."""
    from transhash import Index
    from transhash.errors import BackendError

    if not isinstance(index, Index):
        raise click.UsageError(f"{index.location}: is on a server; --device works only with index folders")
    try:
        reason = index.to(device)
    except BackendError as error:
        reason = str(error)
    if reason and device != "auto":
        render.note(f"{reason}; searching on the CPU")


def _check_order(order: str | None, candidates: int | None, embeddings: Path | None, radius: int | None) -> None:
    """Fail if the re-ranking options contradict each other."""
    if radius is not None and order:
        raise click.UsageError("--radius and --rerank cannot be combined; --rerank reorders the nearest codes")
    if candidates and not order:
        raise click.UsageError("--candidates requires --rerank")
    if embeddings and order != "embeddings":
        raise click.UsageError("--embeddings requires --rerank embeddings")
    if order == "embeddings" and not embeddings:
        raise click.UsageError("--rerank embeddings requires --embeddings FILE, written by th encode --embeddings")


def _where(globs: tuple[str, ...], labels: tuple[str, ...], numbers: str | None) -> "Filter | None":
    """Return the filter that the options describe, or None if there are none."""
    from transhash.index.filters import Filter, parse_ids

    if not (globs or labels or numbers):
        return None
    return Filter(globs, labels, parse_ids(options.lines(numbers), numbers) if numbers else None)


def _check_sheet(sheet: Path, queries: tuple[str, ...]) -> None:
    """Raise OutputError if `sheet` exists and is not an earlier sheet: a PNG that is not one of the queries."""
    from transhash.system import files

    def is_ours(there: Path) -> bool:
        return files.begins_with(there, _PNG) and not any(
            there.samefile(query) for query in queries if query != _STDIN
        )

    files.check_replaceable(sheet, is_ours, "an earlier sheet")


def _check_page(page: Path) -> None:
    """Raise OutputError if `page` exists and is not an earlier page."""
    from transhash.report.gallery import check_replaceable

    check_replaceable(page)


def _check_forms(as_json: bool, as_csv: bool) -> None:
    if as_json and as_csv:
        raise click.UsageError("--json and --csv cannot be combined; choose one")


def _check_outputs(sheet: Path | None, page: Path | None, queries: tuple[str, ...]) -> None:
    if sheet:
        _check_sheet(sheet, queries)
    if page:
        _check_page(page)


def _draw(matches: "Matches", sheet: Path | None, page: Path | None) -> None:
    """Write the pictures that were asked for."""
    from transhash.system import files

    if sheet:
        with files.replacing(sheet) as temporary:
            matches.to_image().save(temporary, format="PNG")
        render.note(f"wrote {sheet}")
    if page:
        matches.write_html(page)
        render.note(f"wrote {page}")


def _answers(matches: "Matches") -> list[dict[str, Any]]:
    """Return the JSON document's list of queries with their matches."""
    return [
        {"query": query, "matches": [_fields(rank, match) for rank, match in enumerate(found, start=1)]}
        for query, found in zip(matches.queries, matches, strict=True)
    ]


def _fields(rank: int, match: "Match") -> dict[str, Any]:
    score = {} if match.score is None else {"score": round(match.score, _DIGITS)}
    verdict = {} if match.verdict is None else {"verdict": match.verdict}
    fields = {"labels": list(match.labels), "path": match.path}
    return {"rank": rank, "id": match.id, **score, "distance": match.distance, **verdict, **fields}


def _row(rank: int, match: "Match", columns: list[str]) -> list[object]:
    """Return the cells of a table or a CSV file."""
    cells = _fields(rank, match) | {"label": ", ".join(match.labels) or None}
    return [cells[column] for column in columns]


def _rows(matches: "Matches", columns: list[str]) -> Iterator[list[object]]:
    for query, found in zip(matches.queries, matches, strict=True):
        for rank, match in enumerate(found, start=1):
            yield [query, *_row(rank, match, columns)]


def _tables(matches: "Matches", columns: list[str]) -> None:
    for query, found in zip(matches.queries, matches, strict=True):
        render.line(query)
        labelled = any(match.labels for match in found)
        shown = [column for column in columns if labelled or column != "label"]
        rows = [
            ["" if cell is None else cell for cell in _row(rank, match, shown)]
            for rank, match in enumerate(found, start=1)
        ]
        if rows:
            render.table(shown, rows, indent="  ")
        elif matches.verdicts and matches.radius is not None:
            render.line(f"  no copy: no image is within {render.counted(matches.radius, 'bit')}")
        else:
            render.line("  no matches")
