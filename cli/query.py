"""`th query`."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options, render

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from transhash.codes import Codes
    from transhash.index.collection import Collection
    from transhash.index.filters import Filter
    from transhash.index.index import Index
    from transhash.results import Nearest, Within

_K = 10
_COLUMNS = ("rank", "score", "distance", "label", "path")
_DIGITS = 4  # of a score
_ORDERS = ("asymmetric", "embeddings")


@click.command()
@click.argument("location", metavar="INDEX", type=options.Index())
@click.argument("queries", nargs=-1, required=True, type=options.EXISTING)
@click.option("-k", type=click.IntRange(1, 1_000_000), help=f"How many matches [default: {_K}].")
@click.option("--radius", type=click.IntRange(0, 1024), help="All matches within so many bits; with -k, at most k.")
@options.NPROBE
@options.EF
@options.NFLIP
@options.GLOB
@click.option("--label", "labels", multiple=True, help="Images with this label.")
@click.option(
    "--ids",
    "numbers",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Images whose ids this text file lists, one a line; - is standard input.",
)
@click.option(
    "--rerank",
    "order",
    type=click.Choice(_ORDERS),
    help="Put the nearest codes into a finer order: by the query's outputs before they are bits, or by embeddings.",
)
@click.option(
    "--candidates",
    type=click.IntRange(1, 1_000_000),
    help="How many of the nearest codes --rerank looks at [default: ten times -k, 100 at least].",
)
@click.option(
    "--embeddings",
    type=options.EXISTING_FILE,
    help="Codes file with the embeddings of what is in the INDEX, for --rerank embeddings.",
)
@options.DEVICE
@click.option("--mmap", is_flag=True, help="Map the INDEX instead of reading it: it may be larger than memory.")
@click.option("--model", help="The hasher, if it is no longer where the images were encoded with it.")
@options.JSON
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@click.option("--sheet", type=options.Output(), help="Also draw queries and matches as one PNG picture.")
def query(
    location: Path | str,
    queries: tuple[Path, ...],
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
) -> None:
    """Find the images of an INDEX that are most like the QUERIES: image files, or one codes file.

    \b
    Examples:
        th query photos.index cat.jpg dog.jpg -k 10
        th query photos.index cat.jpg --radius 6 --json
        th query photos.index cat.jpg --sheet matches.png
        th query photos.index cat.jpg --glob 'cats/*' --glob 'dogs/*' --label young
        th query photos.index cat.jpg --rerank asymmetric
        th query milvus://localhost:19530/photos cat.jpg

    Distances are differing bits; equal distances come in the order of encoding. Of --glob, --label and --ids an image
    must pass each that is given, by any of its values.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    _check_order(order, candidates, embeddings, radius)

    from transhash import rerank
    from transhash.codes import is_codes_file
    from transhash.index import collection

    if sheet:
        from .sheet import check_replaceable

        check_replaceable(sheet, queries)
    opened = collection.open(location, mmap)
    index = opened.index if isinstance(opened, collection.Folder) else None
    if index is None and (order or device != "cpu"):
        raise click.UsageError(f"{location}: on a server; --rerank and --device take codes from an index folder")
    if index and device != "cpu":
        _to_gpu(index, device)
    where = _where(globs, labels, numbers)
    codes, values = _codes(queries, opened, model, order)
    params = options.given(nprobe=nprobe, ef=ef, nflip=nflip)
    best = k or _K
    if radius is not None:
        found: Nearest | Within = opened.range_search(codes, radius, params, where)
    elif values is None or index is None:
        found = opened.search(codes, best, params, where)
    else:
        wide = opened.search(codes, max(best, candidates or rerank.candidates(best)), params, where)
        if embeddings:
            found = rerank.by_embeddings(index, wide, values, embeddings).first(best)
        else:
            found = rerank.by_outputs(index, wide, values).first(best)
    answers = _answers(opened, codes, found, k)
    columns = [column for column in _COLUMNS if order or column != "score"]
    if as_json:
        render.document(
            {"index": str(location), "bits": opened.model.bits, "k": k, "radius": radius, "queries": answers}
        )
    elif as_csv:
        render.csv_rows(("query", *columns), _rows(answers, columns))
    else:
        _tables(answers, columns)
    if sheet:
        from .sheet import draw

        draw(answers, sheet)
        render.note(f"wrote {sheet}")
    if codes.skipped and not is_codes_file(queries[0]):
        sys.exit(1)


def _to_gpu(index: "Index", device: str) -> None:
    """Search on a GPU from now on; where that cannot be, on the CPU, which is said unless it was left open."""
    from transhash.errors import BackendError

    try:
        from transhash.gpu.backend import TritonIndex

        index.backend = TritonIndex.of(index.backend, None if device == "auto" else device)
    except BackendError as error:
        if device != "auto":
            render.note(f"{error}; searching on the CPU")


def _check_order(order: str | None, candidates: int | None, embeddings: Path | None, radius: int | None) -> None:
    """Fail unless the options about re-ranking go together."""
    if radius is not None and order:
        raise click.UsageError("--radius and --rerank exclude each other: candidates are the nearest codes")
    if candidates and not order:
        raise click.UsageError("--candidates belongs to --rerank")
    if embeddings and order != "embeddings":
        raise click.UsageError("--embeddings belongs to --rerank embeddings")
    if order == "embeddings" and not embeddings:
        raise click.UsageError("--rerank embeddings needs --embeddings FILE: codes from th encode --embeddings")


def _codes(
    queries: tuple[Path, ...], index: "Collection", model: str | None, order: str | None
) -> "tuple[Codes, NDArray[np.floating] | None]":
    """Read a codes file, or encode image files with the index's own model; beside them is what `order` goes by."""
    from transhash import rerank
    from transhash.codes import is_codes_file, read_codes
    from transhash.codes.models import check_query_model
    from transhash.encoding.run import encode
    from transhash.errors import ModelError
    from transhash.hashers import load_hasher

    if is_codes_file(queries[0]):
        if len(queries) > 1 or model:
            raise click.UsageError("a codes file is queried alone, and brings its model")
        if order == "asymmetric":
            raise click.UsageError("a codes file has no real-valued outputs: query with images, or by embeddings")
        codes = read_codes(queries[0], embeddings=order is not None)
        if order and codes.embeddings is None:
            raise click.UsageError(f"{queries[0]}: holds no embeddings; encode with --embeddings")
        return codes, codes.embeddings
    name = model or index.model.name
    if name == "phash" and order:
        raise ModelError("phash has neither real-valued outputs nor embeddings to order by; a trained hasher has")
    if name != "phash" and not os.path.isfile(name):
        raise ModelError(f"{name}: the hasher of this index is not there; pass --model FILE")
    hasher = load_hasher(name, len(queries))
    check_query_model(hasher.ref, index.model, "the index")
    values: NDArray[np.floating] | None
    if order == "asymmetric":
        codes, values = rerank.encode(queries, hasher)
        values = values[:, : index.model.bits]  # an index of truncated codes
    else:
        codes = encode(queries, hasher, embeddings=order is not None)
        values = codes.embeddings
    render.skipped(codes.skipped)
    return codes, values


def _where(globs: tuple[str, ...], labels: tuple[str, ...], numbers: str | None) -> "Filter | None":
    """Return what the matches must pass, None if there are no filters."""
    from transhash.index.filters import Filter

    if not (globs or labels or numbers):
        return None
    return Filter(globs, labels, list(options.ids(numbers)) if numbers else None)


def _answers(index: "Collection", codes: "Codes", found: "Nearest | Within", k: int | None) -> list[dict[str, Any]]:
    """Return each query with its matches, and all that belongs to them."""
    import numpy as np

    parts = [tuple(part[:k] for part in found.row(place)) for place in range(len(codes))]
    ids = np.unique(np.concatenate([np.empty(0, np.int64), *(ids for ids, _ in parts)]))
    rows = dict(zip(ids.tolist(), index.rows(ids), strict=True))
    scores = getattr(found, "scores", None)
    return [
        {
            "query": codes.records.path(place),
            "matches": [
                {
                    "rank": rank,
                    "id": id,
                    **({} if scores is None else {"score": round(float(scores[place, rank - 1]), _DIGITS)}),
                    "distance": distance,
                    "label": ", ".join(rows[id].labels) or None,
                    "path": rows[id].path,
                }
                for rank, (id, distance) in enumerate(zip(ids.tolist(), distances.tolist(), strict=True), start=1)
            ],
        }
        for place, (ids, distances) in enumerate(parts)
    ]


def _rows(answers: list[dict[str, Any]], columns: list[str]) -> Iterator[list[object]]:
    for answer in answers:
        for match in answer["matches"]:
            yield [answer["query"], *(match[column] for column in columns)]


def _tables(answers: list[dict[str, Any]], columns: list[str]) -> None:
    for answer in answers:
        render.line(answer["query"])
        labelled = any(match["label"] is not None for match in answer["matches"])
        shown = [column for column in columns if labelled or column != "label"]
        rows = [
            [match[column] if match[column] is not None else "" for column in shown] for match in answer["matches"]
        ]
        if rows:
            render.table(shown, rows, indent="  ")
        else:
            render.line("  no matches")
