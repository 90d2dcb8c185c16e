"""`th dedup`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options, render

if TYPE_CHECKING:
    from transhash.duplicates import Cluster, Duplicates

_COLUMNS = ("cluster", "id", "distance", "bytes", "path", "role")
_BEGINNINGS = {".csv": b"cluster,id,distance,bytes,path", ".jsonl": b'{"cluster": '}  # of files that it replaces
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("images", metavar="INDEX", type=options.Index())
@click.option(
    "--radius",
    type=click.IntRange(0, 1024),
    help="Bits in which near-duplicates may differ. Default: for copy, the largest radius within which no pair of "
    "unrelated images is expected; for phash, a sixteenth of a code; for other models, 0.",
)
@click.option("--suggest", is_flag=True, help="Suggest a radius from the distances between the images, and stop.")
@click.option(
    "--keep",
    type=click.Choice(["largest", "oldest", "path"]),
    default="largest",
    show_default=True,
    help="Which image of a cluster is kept: the largest file, the oldest, or the first path in alphabetical order.",
)
@click.option("--prefer", multiple=True, type=_FOLDER, help="Folder whose images are kept rather than others.")
@click.option("--reference", multiple=True, type=_FOLDER, help="Folder whose images are always kept.")
@click.option("-o", "--output", type=options.Output(), help="File to write the clusters to: .csv or .jsonl.")
@click.option("--report", "page", type=options.Output(), help="Also draw the clusters as a page on which to choose.")
@click.option("--spare", is_flag=True, help="Print the paths of the images that could be removed, and nothing else.")
@click.option("-0", "--null", is_flag=True, help="With --spare, end paths in NUL bytes, as xargs -0 takes them.")
@options.JSON
def dedup(
    images: Path,
    radius: int | None,
    suggest: bool,
    keep: str,
    prefer: tuple[Path, ...],
    reference: tuple[Path, ...],
    output: Path | None,
    page: Path | None,
    spare: bool,
    null: bool,
    as_json: bool,
) -> None:
    """Find the near-duplicates in an INDEX or a codes file: clusters of images within RADIUS bits of one of them.

    \b
    Examples:
        th dedup photos.index --suggest
        th dedup photos.index --radius 4 -o clusters.csv
        th dedup photos.index --radius 4 --report page.html
        th dedup photos.index --radius 4 --spare -0 | th index remove photos.index --list - -0

    Nothing is deleted. The files are looked at: names of one file count once, and a file that is gone or has changed
    since it was encoded is neither kept nor called spare. The answer is exact for every type of index. Pages of text
    look alike to copy: look at their clusters (--report) before you remove any.
    """
    _check_options(radius, suggest, output, page, spare, null, as_json)
    if suggest:
        _suggest(images, as_json)
        return

    import transhash

    with render.rows("codes") as show:
        found = transhash.dedup(images, radius, keep=keep, prefer=prefer, reference=reference, on_rows=show)
    described = [_described(number, cluster) for number, cluster in enumerate(found, 1)]
    if as_json:
        render.document(
            {
                "index": str(images),
                "radius": found.radius,
                **_totals(found),
                "chance_pairs": found.chance_pairs,
                "changed": found.changed,
                "missing": found.missing,
                "unverified": found.unverified,
                "clusters": described,
            }
        )
    elif spare:
        from transhash.duplicates import spare_lines

        render.paths(spare_lines(found, null), null)
    elif output:
        _write(described, output)
        render.note(f"wrote {output}")
    elif not page:
        _tables(described)
    if page:
        found.write_html(page)
        render.note(f"wrote {page}")
    _notes(found)


def _check_options(
    radius: int | None,
    suggest: bool,
    output: Path | None,
    page: Path | None,
    spare: bool,
    null: bool,
    as_json: bool,
) -> None:
    """Raise UsageError for options that contradict each other, and an error for files that cannot be replaced."""
    if spare + as_json + (output is not None) > 1:
        raise click.UsageError("--spare, --json and -o cannot be combined; choose one")
    if null and not spare:
        raise click.UsageError("-0 applies to --spare")
    if suggest and (radius is not None or spare or output or page):
        raise click.UsageError("--suggest only looks for a radius: it takes no --radius, --spare, -o or --report")
    if output:
        _check_replaceable(output)
    if page:
        _check_page(page)


def _suggest(images: Path, as_json: bool) -> None:
    from transhash.duplicates import suggest_radius

    found = suggest_radius(images)
    if as_json:
        render.document(
            {
                "radius": found.radius,
                "sample": found.sample,
                "near": list(found.near),
                "chance_pairs": list(found.chance_pairs),
            }
        )
        return
    rows = [
        [radius, near, f"{chance:.3g}"]
        for radius, (near, chance) in enumerate(zip(found.near, found.chance_pairs, strict=True))
    ]
    render.table(
        ("radius", f"images of {found.sample} with another within the radius", "pairs expected by chance"), rows
    )
    render.line(f"suggested: --radius {found.radius}")
    if (expected := found.chance_pairs[found.radius]) >= 1:
        render.note(
            f"warning: about {expected:,.0f} pairs of unrelated images are expected even there: "
            "these codes do not tell the images apart"
        )


def _notes(found: "Duplicates") -> None:
    """Print the summary and what the files on disk say to stderr."""
    for paths, what in (
        (found.changed, "changed since encoding: encode again, with --sync"),
        (found.missing, "no longer exists"),
        (found.unverified, "may have changed, because its size and time were not stored: encode and build again"),
    ):
        if paths:
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            render.note(f"{paths[0]}{more}: {what}; neither kept nor spare")
    if found.chained:
        render.note(
            f"warning: not spare, because linked to a kept image only through others: "
            f"{render.counted(found.chained, 'image')}; a smaller radius separates them (see --suggest)"
        )
    if not len(found):
        render.note(f"no two images are within {render.counted(found.radius, 'bit')}")
        return
    if found.doubtful:
        render.note(
            f"warning: about {found.chance_pairs:,.0f} pairs of unrelated images are expected within "
            f"{render.counted(found.radius, 'bit')}: these codes do not tell the images apart; "
            "look at the clusters before you remove anything"
        )
    totals = _totals(found)
    size = f", {render.size(totals['spare_bytes'])}" if totals["spare_bytes"] else ""
    render.note(
        f"{render.counted(len(found), 'cluster')} of {render.counted(totals['images'], 'image')} "
        f"within {render.counted(found.radius, 'bit')}: {totals['spare']:,} could be removed{size}"
    )


def _totals(found: "Duplicates") -> dict[str, int]:
    """Return the sums over all clusters that the JSON document has beside them."""
    return {
        "images": sum(map(len, found)),
        "spare": len(found.spare),
        "spare_bytes": found.spare_bytes,
        "chained": found.chained,
    }


def _described(number: int, cluster: "Cluster") -> dict[str, Any]:
    rows = zip(
        cluster.ids.tolist(),
        cluster.distances.tolist(),
        cluster.sizes.tolist(),
        cluster.paths,
        cluster.roles,
        [{} if verdict is None else {"verdict": verdict} for verdict in cluster.verdicts],
        strict=True,
    )
    return {
        "cluster": number,
        "images": [
            {"id": id, "distance": distance, "bytes": size if size >= 0 else None, "path": path, "role": role, **said}
            for id, distance, size, path, role, said in rows
        ],
    }


def _rows(found: list[dict[str, Any]]) -> Iterator[list[object]]:
    """Yield the lines of a CSV file, the names of the columns first."""
    columns = [*_COLUMNS, *_verdict(found)]
    yield [*columns]
    for cluster in found:
        for image in cluster["images"]:
            yield [cluster["cluster"], *(image[column] for column in columns[1:])]


def _verdict(found: list[dict[str, Any]]) -> list[str]:
    """Return the name of the column of verdicts, if the images have any."""
    return ["verdict"] if any("verdict" in image for cluster in found for image in cluster["images"]) else []


def _tables(found: list[dict[str, Any]]) -> None:
    columns = ("id", "distance", *_verdict(found), "bytes", "role", "path")
    for cluster in found:
        render.line(f"cluster {cluster['cluster']}: {len(cluster['images'])} images")
        rows = [["" if image[column] is None else image[column] for column in columns] for image in cluster["images"]]
        render.table(columns, rows, indent="  ")


def _check_replaceable(output: Path) -> None:
    """Fail if the name does not end in a known format, or something other than clusters exists there."""
    from transhash.system import files

    beginning = _BEGINNINGS.get(output.suffix.lower())
    if beginning is None:
        raise click.UsageError(f"{output}: unknown format; choose a name that ends in .csv or .jsonl")

    def is_ours(there: Path) -> bool:
        return files.begins_with(there, beginning) or (there.is_file() and there.stat().st_size == 0)

    files.check_replaceable(output, is_ours, "a file of clusters")


def _check_page(page: Path) -> None:
    """Raise OutputError if `page` exists and is not an earlier page."""
    from transhash.report.gallery import check_replaceable

    check_replaceable(page)


def _write(found: list[dict[str, Any]], output: Path) -> None:
    from transhash.system import files

    with files.replacing(output) as temporary, temporary.open("wb") as out:
        if output.suffix.lower() == ".csv":
            for row in _rows(found):
                out.write(render.csv_line(row))
        else:
            for cluster in found:
                out.write(json.dumps(cluster).encode() + b"\n")
