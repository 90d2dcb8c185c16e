"""`th dedup`."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options, render

if TYPE_CHECKING:
    from transhash.codes import Codes
    from transhash.dedup import Cluster

_COLUMNS = ("cluster", "id", "distance", "bytes", "path")
_BEGINNINGS = {".csv": ",".join(_COLUMNS), ".jsonl": '{"cluster": '}  # of the files that this command writes


@click.command()
@click.argument("images", metavar="INDEX", type=options.Index("the codes file that a server was filled from will do"))
@click.option("--radius", type=click.IntRange(0, 1024), required=True, help="Bits in which near-duplicates differ.")
@click.option("-o", "--output", type=options.Output(), help="File to write the clusters to: .csv or .jsonl.")
@click.option("--spare", is_flag=True, help="Print the paths of all but one image of each cluster, and nothing else.")
@click.option("-0", "--null", is_flag=True, help="With --spare, end paths in NUL bytes, as xargs -0 takes them.")
@options.JSON
def dedup(images: Path, radius: int, output: Path | None, spare: bool, null: bool, as_json: bool) -> None:
    """Find the near-duplicates in an INDEX, or a codes file: clusters of images, each within RADIUS bits of another.

    \b
    Examples:
        th dedup photos.index --radius 4
        th dedup photos.index --radius 4 -o clusters.csv
        th dedup photos.index --radius 4 --spare | th index remove photos.index --list -

    The first image of a cluster is that with the largest file; distances are the others' from it. Nothing is deleted.
    The answer is exact for every type of index.
    """
    if spare + as_json + (output is not None) > 1:
        raise click.UsageError("--spare, --json and -o exclude each other")
    if output:
        _check_replaceable(output)

    from transhash import dedup
    from transhash.codes import is_codes_file, read_codes
    from transhash.index.index import Index

    opened: Index | Codes = read_codes(images) if is_codes_file(images) else Index.open(images)
    with render.rows("codes") as show:
        clusters = list(dedup.clusters(opened, radius, show))
    found = [_described(number, cluster) for number, cluster in enumerate(clusters, 1)]
    summary = _summary(clusters)
    if as_json:
        render.document({"index": str(images), "radius": radius, **summary, "clusters": found})
    elif spare:
        render.paths([os.fsencode(path) for cluster in clusters for path in cluster.paths[1:]], null)
    elif output:
        _write(found, output)
        render.note(f"wrote {output}")
    else:
        _tables(found)
    if not clusters:
        render.note(f"no two images are within {radius} bits")
        return
    size = f", {summary['spare_bytes'] / 1e6:.1f} MB" if summary["spare_bytes"] else ""
    render.note(
        f"{summary['clusters']} clusters of {summary['images']} images within {radius} bits: "
        f"{summary['spare']} could go{size}"
    )


def _summary(clusters: list["Cluster"]) -> dict[str, int]:
    """Count what there is, and what one image a cluster would leave over."""
    return {
        "clusters": len(clusters),
        "images": sum(map(len, clusters)),
        "spare": sum(len(cluster) - 1 for cluster in clusters),
        "spare_bytes": sum(int(cluster.sizes[1:].clip(0).sum()) for cluster in clusters),
    }


def _described(number: int, cluster: "Cluster") -> dict[str, Any]:
    rows = zip(cluster.ids.tolist(), cluster.distances.tolist(), cluster.sizes.tolist(), cluster.paths, strict=True)
    return {
        "cluster": number,
        "images": [
            {"id": id, "distance": distance, "bytes": size if size >= 0 else None, "path": path}
            for id, distance, size, path in rows
        ],
    }


def _rows(found: list[dict[str, Any]]) -> Iterator[list[object]]:
    for cluster in found:
        for image in cluster["images"]:
            yield [cluster["cluster"], *(image[column] for column in _COLUMNS[1:])]


def _tables(found: list[dict[str, Any]]) -> None:
    for cluster in found:
        render.line(f"cluster {cluster['cluster']}: {len(cluster['images'])} images")
        rows = [["" if value is None else value for value in row[1:]] for row in _rows([cluster])]
        render.table(_COLUMNS[1:], rows, indent="  ")


def _check_replaceable(output: Path) -> None:
    """Fail if the name says no format, or anything but clusters stands there."""
    from transhash import files

    beginning = _BEGINNINGS.get(output.suffix.lower())
    if beginning is None:
        raise click.UsageError(f"{output}: no format for such a name; choose one that ends in .csv or .jsonl")

    def is_ours(there: Path) -> bool:
        return files.begins_with(there, beginning.encode()) or (there.is_file() and there.stat().st_size == 0)

    files.check_replaceable(output, is_ours, "a file of clusters")


def _write(found: list[dict[str, Any]], output: Path) -> None:
    from transhash import files

    with files.replacing(output) as temporary, temporary.open("wb") as out:
        if output.suffix.lower() == ".csv":
            for row in [_COLUMNS, *_rows(found)]:
                out.write(render.csv_line(row))
        else:
            for cluster in found:
                out.write(json.dumps(cluster).encode() + b"\n")
