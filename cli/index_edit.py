"""`th index add`, `remove`, `sync`, `merge` and `verify`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options, render

if TYPE_CHECKING:
    from transhash.filters import Mask
    from transhash.search import Index

_SHOWN = 20  # paths that --dry-run names

_INDEX = click.argument("folder", metavar="INDEX", type=options.EXISTING)
_REPLACE = click.option("--replace", is_flag=True, help="Rows whose paths come again give way to the new ones.")


@click.command()
@_INDEX
@click.argument("codes", nargs=-1, required=True, type=options.EXISTING_FILE)
@_REPLACE
def add(folder: Path, codes: tuple[Path, ...], replace: bool) -> None:
    """Add CODES files to an INDEX.

    \b
    Examples:
        th index add photos.index new.h5
        th index add photos.index monday.h5 tuesday.h5 --replace

    The images get ids above all that were ever given. If the index has one of their paths already, nothing is added
    unless you choose: --replace, or th index sync, which compares first.
    """
    from transhash.codes import read_codes
    from transhash.search import Index

    with Index.edit(folder) as index:
        before = len(index)
        added = sum(len(index.add(read_codes(file), replace=replace)) for file in codes)
        replaced = before + added - len(index)
    render.note(f"{folder}: added {added} images, {replaced} in place of others; {len(index)} now")


@click.command()
@_INDEX
@options.GLOB
@click.option("--path", "paths", multiple=True, help="An image, as a path or as the index shows it.")
@click.option("--id", "ids", multiple=True, type=click.IntRange(min=0), help="An image's id.")
@click.option(
    "--list",
    "names",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Images that this text file names, one path a line; - is standard input.",
)
@options.NULL
@click.option("--dry-run", is_flag=True, help="Show which would go; remove nothing.")
def remove(
    folder: Path,
    globs: tuple[str, ...],
    paths: tuple[str, ...],
    ids: tuple[int, ...],
    names: str | None,
    null: bool,
    dry_run: bool,
) -> None:
    """Remove images from an INDEX: all that any of the options names. The others keep their ids.

    \b
    Examples:
        th index remove photos.index --glob 'screenshots/*' --dry-run
        th index remove photos.index --path photos/cat.jpg --id 17
        th index remove photos.index --list gone.txt

    The image files stay where they are.
    """
    from transhash.search import Index

    listed = [*map(str, paths), *(options.lines(names, null) if names else ())]
    if not (globs or listed or ids):
        raise click.UsageError("say what to remove: --glob, --path, --id or --list")
    if dry_run:
        opened = Index.open(folder)
        gone = _named(opened, globs, listed, ids)
        for row in gone.nonzero()[0][:_SHOWN].tolist():
            render.line(opened.records.path(row))
        more = f" ({gone.sum() - _SHOWN} not shown)" if gone.sum() > _SHOWN else ""
        render.note(f"{folder}: would remove {gone.sum()} of {len(opened)} images{more}")
        return
    with Index.edit(folder) as index:
        gone = _named(index, globs, listed, ids)
        index.remove(gone)
    render.note(f"{folder}: removed {gone.sum()} images; {len(index)} now")


@click.command()
@_INDEX
@click.argument("codes", type=options.EXISTING_FILE)
def sync(folder: Path, codes: Path) -> None:
    """Make an INDEX hold what the CODES file holds: add what is new, remove what is gone, replace what changed.

    \b
    Example:
        th encode photos/ -o codes.h5 --model phash --sync
        th index sync photos.index codes.h5

    Images with the same path, code and labels keep their ids.
    """
    from transhash.codes import read_codes
    from transhash.search import Index

    with Index.edit(folder) as index:
        done = index.sync(read_codes(codes))
    render.note(
        f"{folder}: {done.added} images added, {done.removed} removed, {done.changed} changed; {len(index)} now"
    )


@click.command()
@click.argument("folders", metavar="INDEX...", nargs=-1, required=True, type=options.EXISTING)
@click.option("-o", "--output", type=options.Output(), required=True, help="Index to write (a folder).")
@_REPLACE
def merge(folders: tuple[Path, ...], output: Path, replace: bool) -> None:
    """Join INDEXes of one model into one, of the first's type.

    \b
    Example:
        th index merge mine.index yours.index -o ours.index

    Images of the first keep their ids, those of the others get new ones.
    """
    from transhash.search import Index

    first, *others = (Index.open(folder) for folder in folders)
    first.merge(others, replace=replace)
    first.save(output)
    render.note(f"wrote {output}: {len(first)} codes of {len(folders)} indexes")


@click.command()
@_INDEX
def verify(folder: Path) -> None:
    """Compare every file of an INDEX with its checksum, and open it; say all that is wrong.

    \b
    Example:
        th index verify photos.index
    """
    from transhash import manifest
    from transhash.search import Index

    stored = manifest.read(folder)
    problems = list(manifest.problems(folder, stored))
    for problem in problems:
        render.line(problem)
    if problems:
        raise click.ClickException(
            f"{folder}: {len(problems)} of {len(stored.files)} files are not what was written; build the index again"
        )
    index = Index.open(folder)
    for _ in index.records.paths:
        pass
    size = sum(file.bytes for file in stored.files.values())
    render.line(f"{folder}: {len(stored.files)} files, {size} bytes, {len(index)} codes are what was written")


def _named(index: "Index", globs: tuple[str, ...], paths: list[str], ids: tuple[int, ...]) -> "Mask":
    """Return what any of the options names."""
    from transhash import filters

    def masks() -> Iterator["Mask"]:
        if globs:
            yield filters.globs(index, globs)
        if paths:
            yield filters.paths(index, paths)
        if ids:
            yield filters.ids(index, ids)

    named, *others = masks()
    for other in others:
        named |= other
    return named
