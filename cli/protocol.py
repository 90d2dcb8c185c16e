"""`th protocol write`, `th protocol check` and `th protocol list`."""

from dataclasses import asdict
from pathlib import Path

import click

from . import options, render

_NAME = click.argument("name")


@click.group()
def protocol() -> None:
    """Split images as in the evaluation protocols of the literature."""


@protocol.command()
@_NAME
@options.IMAGES
@click.option("-o", "--output", type=options.Output(), required=True, help="Folder of lists to write.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the random split.")
def write(name: str, images: Path, output: Path, seed: int) -> None:
    """Draw the queries, training images and database of protocol NAME from the folder IMAGES.

    \b
    Example:
        th protocol write cifar10 cifar10-images/ -o lists/

    Every image must be in a folder named after its class. The split depends only on the seed and the images' paths.
    """
    from transhash.datasets.protocols import PROTOCOLS, make_protocol

    split = make_protocol(name, images, output, seed)
    counts = ", ".join(f"{count} {part}" for part, count in split.counts.items())
    at = PROTOCOLS[name].at
    render.note(f"wrote {output}: {counts}; {len(split.classes)} classes; mAP@{at}; split {split.identity}")


@protocol.command()
@_NAME
@click.argument("folder", type=options.EXISTING_FOLDER)
@options.JSON
def check(name: str, folder: Path, as_json: bool) -> None:
    """Compare the lists in a FOLDER with protocol NAME: train.txt, database.txt, and query.txt or test.txt.

    \b
    Example:
        th protocol check nuswide21 lists/
    """
    from transhash.datasets.protocols import PROTOCOLS, check_protocol

    found = check_protocol(name, folder)
    at = PROTOCOLS[name].at
    if as_json:
        render.document({"protocol": name, "at": at, **asdict(found)})
        return
    described = {
        **found.counts,
        "classes": found.classes,
        "mAP@": _number(at),
        "split": found.identity,
        "queries without a label": found.unlabelled_queries,
        "queries in the database": found.queries_in_database,
        "training in the database": found.training_in_database,
    }
    width = max(map(len, described))
    for key, value in described.items():
        render.line(f"{key.ljust(width)}  {value}")


@protocol.command("list")
@options.JSON
def list_all(as_json: bool) -> None:
    """List the protocols with their numbers of images and the R of their mAP@R.

    \b
    Example:
        th protocol list
    """
    from transhash.datasets.protocols import list_protocols

    if as_json:
        render.document([asdict(entry) for entry in list_protocols()])
        return
    columns = ("queries", "training", "database", "classes", "at")
    rows = [
        (
            entry.name,
            *(_number(getattr(entry, column)).rjust(max(len(column), 5)) for column in columns),
            "drawn" if entry.drawn else "lists",
            entry.note,
        )
        for entry in list_protocols()
    ]
    render.table(("name", *columns, "from", "note"), rows)


def _number(count: int | None) -> str:
    return "-" if count is None else str(count)
