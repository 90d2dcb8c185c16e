"""`th index add`, `remove`, `sync`, `merge` and `verify`."""

from pathlib import Path

import click

from . import options, render

_SHOWN = 20  # paths that --dry-run names

_INDEX = click.argument("location", metavar="INDEX", type=options.Index())
_REPLACE = click.option("--replace", is_flag=True, help="Rows whose paths come again give way to the new ones.")


@click.command()
@_INDEX
@click.argument("codes", nargs=-1, required=True, type=options.EXISTING_FILE)
@_REPLACE
def add(location: Path | str, codes: tuple[Path, ...], replace: bool) -> None:
    """Add CODES files to an INDEX.

    \b
    Examples:
        th index add photos.index new.h5
        th index add photos.index monday.h5 tuesday.h5 --replace

    The images get ids above all that were ever given. If the index has one of their paths already, nothing is added
    unless you choose: --replace, or th index sync, which compares first.
    """
    from transhash.index import collection

    index = collection.open(location)
    with render.rows("codes") as report:
        added = index.add(codes, replace=replace, report=report)
    render.note(f"{location}: added {added.rows} images, {added.replaced} in place of others; {len(index)} now")


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
    location: Path | str,
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
    from transhash.index import collection
    from transhash.index.filters import Filter

    listed = [*map(str, paths), *(options.lines(names, null) if names else ())]
    named = [
        *([Filter(globs=globs)] if globs else []),
        *([Filter(paths=listed)] if listed else []),
        *([Filter(ids=ids)] if ids else []),
    ]
    if not named:
        raise click.UsageError("say what to remove: --glob, --path, --id or --list")
    index = collection.open(location)
    if dry_run:
        count, shown = index.matching(named, _SHOWN)
        for path in shown:
            render.line(path)
        more = f" ({count - len(shown)} not shown)" if count > len(shown) else ""
        render.note(f"{location}: would remove {count} of {len(index)} images{more}")
        return
    gone = index.remove(named)
    render.note(f"{location}: removed {gone} images; {len(index)} now")


@click.command()
@_INDEX
@click.argument("codes", type=options.EXISTING_FILE)
def sync(location: Path | str, codes: Path) -> None:
    """Make an INDEX hold what the CODES file holds: add what is new, remove what is gone, replace what changed.

    \b
    Example:
        th encode photos/ -o codes.h5 --model phash --sync
        th index sync photos.index codes.h5

    Images with the same path, code and labels keep their ids.
    """
    from transhash.index import collection

    index = collection.open(location)
    with render.rows("codes") as report:
        done = index.sync(codes, report)
    render.note(
        f"{location}: {done.added} images added, {done.removed} removed, {done.changed} changed; {len(index)} now"
    )


@click.command()
@click.argument(
    "folders",
    metavar="INDEX...",
    nargs=-1,
    required=True,
    type=options.Index("th index add takes codes files to a server"),
)
@click.option("-o", "--output", type=options.Output(), required=True, help="Index to write (a folder).")
@_REPLACE
def merge(folders: tuple[Path, ...], output: Path, replace: bool) -> None:
    """Join INDEXes of one model into one, of the first's type.

    \b
    Example:
        th index merge mine.index yours.index -o ours.index

    Images of the first keep their ids, those of the others get new ones.
    """
    from transhash.index.index import Index

    first, *others = (Index.open(folder) for folder in folders)
    first.merge(others, replace=replace)
    first.save(output)
    render.note(f"wrote {output}: {len(first)} codes of {len(folders)} indexes")


@click.command()
@_INDEX
def verify(location: Path | str) -> None:
    """Compare every file of an INDEX with its checksum, or read all rows of a server, and say all that is wrong.

    \b
    Examples:
        th index verify photos.index
        th index verify milvus://localhost:19530/photos
    """
    from transhash.index import collection, manifest

    index = collection.open(location)
    with render.rows("codes") as report:
        problems = list(index.verify(report))
    for problem in problems:
        render.line(problem)
    if isinstance(location, Path):
        files = manifest.read(location).files
        what = f"{len(files)} files, {sum(file.bytes for file in files.values())} bytes, "
        mend = f"{len(problems)} of {len(files)} files are not what was written; build the index again"
    else:
        what, mend = "", f"{len(problems)} things are wrong; th index sync makes it hold what a codes file holds"
    if problems:
        raise click.ClickException(f"{location}: {mend}")
    render.line(f"{location}: {what}{len(index)} codes are what was written")
