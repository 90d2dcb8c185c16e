"""Options and argument types that commands share."""

import codecs
import os
import re
import types
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, get_args

import click

from transhash.errors import TransHashError, redacted
from transhash.index.locations import is_server

from . import render

Command = Callable[..., Any]

EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EXISTING = click.Path(exists=True, path_type=Path)


class Index(click.Path):
    """An index that is there: a folder, or a collection on a server, as ``milvus://HOST:PORT/NAME``."""

    def __init__(self, because: str = "") -> None:
        """Take both, or folders alone `because` a server cannot do it."""
        super().__init__(exists=True, path_type=Path)
        self._because = because

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a folder as a path, and the location of a collection as it is."""
        if not is_server(value):
            return super().convert(value, param, ctx)
        if self._because:
            self.fail(f"{redacted(str(value))}: only for index folders; {self._because}", param, ctx)
        return str(value)


class FloatRange(click.FloatRange):
    """A range of floats without NaN, which click lets pass because it is neither below nor above a bound."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or fail if it is not one in the range."""
        number = super().convert(value, param, ctx)
        if number != number:
            self.fail(f"{value} is not a number", param, ctx)
        return number


class NewIndex(click.Path):
    """A folder to write, whose parent must exist, or a collection on a server."""

    def __init__(self) -> None:
        """Take any path or location."""
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the folder as a path, and the location of a collection as it is."""
        return str(value) if is_server(value) else Output().convert(value, param, ctx)


class Output(click.Path):
    """A file or folder to write, whose parent must be there and writable: asked before the work, not after it."""

    def __init__(self) -> None:
        """Take any path."""
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or fail if nothing can be written beside it."""
        path = Path(value)
        parent = click.Path(exists=True, file_okay=False, writable=True)
        parent.convert(str(path.parent), param, ctx)
        return super().convert(path, param, ctx)


def _device(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"cpu|auto|all|cuda(:\d+)?", value):
        raise click.BadParameter(f"{value!r}: choose cpu, cuda, cuda:0 or another number, all, or auto")
    return value


def _log_json(context: click.Context, parameter: click.Parameter, wanted: bool) -> bool:
    render.use_json(wanted)
    return wanted


IMAGES = click.argument("images", type=EXISTING)
LIST = click.option(
    "--list",
    "names",
    type=EXISTING_FILE,
    help="Take only the images that this text file lists: one path a line, relative to IMAGES.",
)
SOURCES = click.argument("images", nargs=-1, type=click.Path(exists=True, allow_dash=True))
SOURCE_LIST = click.option(
    "--list",
    "names",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Take only the images that this list names, relative to IMAGES: one path a line, or a .csv or .tsv with "
    "labels behind the path. - is standard input.",
)
NULL = click.option("-0", "--null", is_flag=True, help="What is listed ends in NUL bytes, as find -print0 writes it.")
INCLUDE = click.option(
    "--include", multiple=True, metavar="PATTERN", help="Take only files of the folder that match, as 'cats/*'."
)
EXCLUDE = click.option(
    "--exclude", multiple=True, metavar="PATTERN", help="Take no files or folders that match, as 'thumb*'."
)
INCLUDE_HIDDEN = click.option(
    "--include-hidden",
    is_flag=True,
    help="Take hidden files and folders, too, and those that systems add, such as ._cat.jpg, .thumbs and @eaDir.",
)
PRETRAINED = click.option("--pretrained", is_flag=True, help="Start from the backbone's weights on the model hub.")
WEIGHTS = click.option(
    "--weights",
    type=EXISTING_FILE,
    help="Start from a timm checkpoint in safetensors, or from a hasher, whose hash heads alone start anew.",
)
NPROBE = click.option("--nprobe", type=click.IntRange(1, 1 << 24), help="Lists that a search of type ivf looks into.")
EF = click.option("--ef", type=click.IntRange(1, 1 << 20), help="Codes that a search of type hnsw keeps in sight.")
NFLIP = click.option(
    "--nflip",
    type=click.IntRange(0, 24),
    help="Bits by which the buckets of types hash and multihash may differ from the query's.",
)
GLOB = click.option(
    "--glob", "globs", multiple=True, metavar="PATTERN", help="Images whose paths match, as 'cats/*' or '*.png'."
)
DEVICE = click.option(
    "--device",
    callback=_device,
    default="cpu",
    show_default=True,
    help="Where to search an index of type flat or ivf: cpu, a GPU (cuda, cuda:1), all GPUs "
    "together, or auto: a GPU if there is one.",
)
LOG_JSON = click.option(
    "--log-json",
    is_flag=True,
    is_eager=True,
    callback=_log_json,
    help="Write progress, skipped files, errors and the summary to stderr as lines of JSON.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def settings(of: type, leave_out: tuple[str, ...] = ()) -> Callable[[Command], Command]:
    """Give a command one option for every field of a dataclass of settings (`transhash.settings`)."""

    def decorate(command: Command) -> Command:
        for entry in reversed([entry for entry in fields(of) if entry.name not in leave_out]):
            assert entry.default is not MISSING
            name = "--" + entry.name.replace("_", "-")
            command = click.option(
                f"{name}/--no-{name[2:]}" if entry.type is bool else name,
                type=_type(entry),
                default=entry.default,
                show_default=entry.default not in (None, "", ()),
                help=entry.metadata["help"],
            )(command)
        return command

    return decorate


def chosen(of: type, values: dict[str, Any], **others: Any) -> Any:
    """Build a dataclass of settings from a command's values, and leave the others."""
    given = {entry.name: values[entry.name] for entry in fields(of) if entry.name in values}
    try:
        return of(**given, **others)
    except TransHashError as error:
        raise click.UsageError(str(error)) from None


class Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers with commas between them."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the numbers."""
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in value.split(",") if word.strip()]
        if not all(word.isascii() and word.isdecimal() and len(word) < 10 for word in words):
            self.fail(f"{value!r}: give whole numbers with commas between them, as 16,32,48", param, ctx)
        return tuple(map(int, words))


def _type(entry: Field[Any]) -> Any:
    """Return the type of a field's option: with its range, or the values to choose from."""
    plain = get_args(entry.type)[0] if isinstance(entry.type, types.UnionType) else entry.type
    low, high = entry.metadata["low"], entry.metadata["high"]
    if entry.type == tuple[int, ...]:
        return Numbers()
    if entry.metadata["of"]:
        return click.Choice(entry.metadata["of"])
    if low is None:
        return plain
    return click.IntRange(int(low), int(high)) if plain is int else FloatRange(low, high)


def one_start(pretrained: bool, weights: Path | None) -> None:
    """Refuse weights from two places."""
    if pretrained and weights:
        raise click.UsageError("--pretrained and --weights exclude each other")


def lines(name: str, null: bool = False) -> Iterator[str]:
    """Yield what a file, or standard input for ``-``, lists: its lines that are not blank, or what ends in NUL."""
    with click.open_file(name, "rb") as file:
        for line in file.read().removeprefix(codecs.BOM_UTF8).split(b"\0" if null else b"\n"):
            item = line if null else line.rstrip(b"\r")
            if item.strip():
                yield os.fsdecode(item)


def given(**params: int | None) -> dict[str, int]:
    """Return the parameters that were given."""
    return {name: value for name, value in params.items() if value is not None}
