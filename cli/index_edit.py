"""`th index add`, `remove`, `sync`, `compact`, `merge`, `export` and `verify`."""

from pathlib import Path

import click

from . import options, render

_SHOWN = 20  # paths that --dry-run names

_INDEX = click.argument("location", metavar="INDEX", type=options.Index())
_REPLACE = click.option("--replace", is_flag=True, help="Replace images that have the same path.")


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

    The images get new ids. If one of their paths is already in the index, nothing is added unless --replace is given.
    To add only what has changed, use th index sync.
    """
    import transhash

    index = transhash.open(location)
    with render.rows("codes") as progress:
        added = index.add(codes, replace=replace, progress=progress)
    images = render.counted(added.rows, "image")
    render.note(f"{location}: added {images}, {added.replaced:,} of them replacements; {len(index):,} now")


@click.command()
@_INDEX
@options.GLOB
@click.option("--path", "paths", multiple=True, help="Image with this path.")
@click.option("--id", "ids", multiple=True, type=click.IntRange(0, (1 << 63) - 2), help="Image with this id.")
@click.option(
    "--list",
    "names",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Images that this text file lists, one path per line; - is standard input.",
)
@options.NULL
@click.option("--dry-run", is_flag=True, help="Show what would be removed without removing it.")
def remove(
    location: Path | str,
    globs: tuple[str, ...],
    paths: tuple[str, ...],
    ids: tuple[int, ...],
    names: str | None,
    null: bool,
    dry_run: bool,
) -> None:
    """Remove images from an INDEX: those that any of the options selects. The others keep their ids.

    \b
    Examples:
        th index remove photos.index --glob 'screenshots/*' --dry-run
        th index remove photos.index --path photos/cat.jpg --id 17
        th index remove photos.index --list gone.txt

    The image files themselves are not touched.
    """
    import transhash
    from transhash import Filter

    listed = [*map(str, paths), *(options.lines(names, null) if names else ())]
    named = [
        *([Filter(globs=globs)] if globs else []),
        *([Filter(paths=listed)] if listed else []),
        *([Filter(ids=ids)] if ids else []),
    ]
    if names and not named:
        render.note(f"{location}: nothing removed; {'standard input' if names == '-' else names} lists no image")
        return
    if not named:
        raise click.UsageError("nothing selected; pass --glob, --path, --id or --list")
    index = transhash.open(location)
    if dry_run:
        count, shown = index.matching(named, _SHOWN)
        for path in shown:
            render.line(path)
        more = f" ({count - len(shown)} not shown)" if count > len(shown) else ""
        render.note(f"{location}: would remove {count:,} of {render.counted(len(index), 'image')}{more}")
        return
    gone = index.remove(named)
    render.note(f"{location}: removed {render.counted(gone, 'image')}; {len(index):,} now")


@click.command()
@_INDEX
@click.argument("codes", type=options.EXISTING_FILE)
def sync(location: Path | str, codes: Path) -> None:
    """Update an INDEX to match the CODES file: add, remove and replace the images that differ.

    \b
    Example:
        th encode photos/ -o codes.h5 --model phash --sync
        th index sync photos.index codes.h5

    Images with the same path, code and labels keep their ids.
    """
    import transhash

    index = transhash.open(location)
    with render.rows("codes") as progress:
        done = index.sync(codes, progress=progress)
    render.note(
        f"{location}: {render.counted(done.added, 'image')} added, {done.removed:,} removed, "
        f"{done.changed:,} changed; {len(index):,} now"
    )


@click.command()
@_INDEX
def compact(location: Path | str) -> None:
    """Write the changes that are kept beside an INDEX into it.

    \b
    Example:
        th index compact photos.index

    Changes of a large index are kept beside it, and merged with it once they reach a tenth of its rows. This command
    merges them now. Searches give the same answers before and after. FAISS opens the index without such changes.
    """
    import transhash

    index = transhash.open(location)
    index.compact()
    render.note(f"{location}: {render.counted(len(index), 'image')}")


@click.command()
@click.argument(
    "folders",
    metavar="INDEX...",
    nargs=-1,
    required=True,
    type=options.Index("add codes files to a server with th index add"),
)
@click.option("-o", "--output", type=options.Output(), required=True, help="Index to write (a folder).")
@_REPLACE
@click.option("--force", is_flag=True, help="Replace an index of another model or of another image folder.")
def merge(folders: tuple[Path, ...], output: Path, replace: bool, force: bool) -> None:
    """Join INDEXes of the same model into one index of the first one's type.

    \b
    Example:
        th index merge mine.index yours.index -o ours.index

    Images of the first index keep their ids; the others get new ones.
    """
    import transhash

    merged = transhash.merge_indexes(folders, output, replace=replace, force=force)
    render.note(f"wrote {output}: {render.counted(len(merged), 'code')} from {len(folders)} indexes")


@click.command()
@_INDEX
@click.option("-o", "--output", type=options.Output(), required=True, help="Codes file to write (HDF5).")
def export(location: Path | str, output: Path) -> None:
    """Write the codes of an INDEX, with their paths and labels, to a codes file, in the order of their ids.

    \b
    Examples:
        th index export photos.index -o codes.h5
        th index export postgresql://localhost/images/photos -o codes.h5

    The ids themselves are not kept: an index of the file counts from 0.
    """
    import transhash

    count = transhash.export_index(location, output)
    render.note(f"wrote {output}: {render.counted(count, 'code')}")


@click.command()
@_INDEX
def verify(location: Path | str) -> None:
    """Check an INDEX: compare every file with its checksum, or read all rows from a server, and list the problems.

    \b
    Examples:
        th index verify photos.index
        th index verify milvus://localhost:19530/photos
    """
    import transhash

    index = transhash.open(location)
    with render.rows("codes") as progress:
        problems = list(index.verify(progress=progress))
    for problem in problems:
        render.line(problem)
    if problems:
        hint = "build it again" if isinstance(location, Path) else "repair it from a codes file with th index sync"
        raise click.ClickException(f"{index.location}: damaged, problems: {len(problems)}; {hint}")
    render.line(f"{index.location}: {len(index)} codes are intact")
