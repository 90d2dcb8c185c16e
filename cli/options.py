"""Options and argument types that commands share."""

import codecs
import os
import re
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    """An existing index: a folder, or a collection on a server such as ``milvus://HOST:PORT/NAME``."""

    def __init__(self, because: str = "") -> None:
        """Accept folders and servers, or only folders if `because` says why a server cannot do it."""
        super().__init__(exists=True, path_type=Path)
        self._because = because

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a folder as a path, and the location of a collection unchanged."""
        if not is_server(value):
            return super().convert(value, param, ctx)
        if self._because:
            self.fail(f"{redacted(str(value))}: only for index folders; {self._because}", param, ctx)
        return str(value)


class FloatRange(click.FloatRange):
    """A range of floats that rejects NaN, which click accepts because it is neither below nor above a bound."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, or fail if it is NaN or outside the range."""
        number = super().convert(value, param, ctx)
        if number != number:
            self.fail(f"{value} is not a number", param, ctx)
        return number


class NewIndex(click.Path):
    """A folder to write, whose parent must exist, or a collection on a server."""

    def __init__(self) -> None:
        """Accept any path or location."""
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the folder as a path, and the location of a collection unchanged."""
        return str(value) if is_server(value) else Output().convert(value, param, ctx)


class Output(click.Path):
    """A file or folder to write; its parent must exist and be writable, which is checked before any work is done."""

    def __init__(self) -> None:
        """Accept any path."""
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or fail if its folder is missing or not writable."""
        path = Path(value)
        parent = click.Path(exists=True, file_okay=False, writable=True)
        parent.convert(str(path.parent), param, ctx)
        return super().convert(path, param, ctx)


def _device(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"cpu|auto|all|cuda(:\d+)?", value):
        raise click.BadParameter(f"{value!r}: choose cpu, cuda, a numbered GPU such as cuda:0, all, or auto")
    return value


def _log_json(context: click.Context, parameter: click.Parameter, enabled: bool) -> bool:
    render.use_json(enabled)
    return enabled


IMAGES = click.argument("images", type=EXISTING)
LIST = click.option(
    "--list",
    "names",
    type=EXISTING_FILE,
    help="Take only the images that this text file lists: one path per line, relative to IMAGES.",
)
SOURCES = click.argument("images", nargs=-1, type=click.Path(exists=True, allow_dash=True))
SOURCE_LIST = click.option(
    "--list",
    "names",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    help="Take only the images in this list, relative to IMAGES: one path per line, or a .csv or .tsv file with "
    "labels after the path. - is standard input.",
)
NULL = click.option("-0", "--null", is_flag=True, help="Listed entries end in NUL bytes, as written by find -print0.")
INCLUDE = click.option(
    "--include", multiple=True, metavar="PATTERN", help="Take only files in the folder that match, such as 'cats/*'."
)
EXCLUDE = click.option(
    "--exclude", multiple=True, metavar="PATTERN", help="Skip files and folders that match, such as 'thumb*'."
)
INCLUDE_HIDDEN = click.option(
    "--include-hidden",
    is_flag=True,
    help="Also take hidden files and folders, and system files such as ._cat.jpg, .thumbs and @eaDir.",
)
PRETRAINED = click.option("--pretrained", is_flag=True, help="Start from the backbone's weights on the model hub.")
WEIGHTS = click.option(
    "--weights",
    type=EXISTING_FILE,
    help="Start from a timm checkpoint in safetensors, or from a hasher, whose hash heads are reinitialized.",
)
EMBEDDER = click.option(
    "--embedder",
    type=EXISTING_FILE,
    help="Use an ONNX model that turns images into embeddings, such as SSCD, CLIP or DINOv3. The TOML file beside it "
    "(model.toml for model.onnx), or the options --embedder-…, describe its input and output.",
)
NPROBE = click.option(
    "--nprobe", type=click.IntRange(1, 1 << 24), help="Type ivf: number of lists that a search visits."
)
EF = click.option(
    "--ef", type=click.IntRange(1, 1 << 20), help="Type hnsw: number of candidates that a search keeps."
)
NFLIP = click.option(
    "--nflip",
    type=click.IntRange(0, 24),
    help="Types hash and multihash: number of bits by which a visited bucket may differ from the query's.",
)
GLOB = click.option(
    "--glob", "globs", multiple=True, metavar="PATTERN", help="Images whose paths match, such as 'cats/*' or '*.png'."
)
DEVICE = click.option(
    "--device",
    callback=_device,
    default="cpu",
    show_default=True,
    help="Where to search an index of type flat or ivf: cpu, a GPU (cuda, cuda:1), all (every GPU), "
    "or auto (a GPU if available).",
)
LOG_JSON = click.option(
    "--log-json",
    is_flag=True,
    is_eager=True,
    callback=_log_json,
    help="Write progress, skipped files, errors and the summary to stderr as lines of JSON.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def settings(of: type, leave_out: tuple[str, ...] = (), prefix: str = "") -> Callable[[Command], Command]:
    """Return a decorator that adds one option for every field of a settings dataclass (`transhash.system.settings`).

    With a prefix, such as ``"embedder-"``, the names of the options start with it, and options that are not given are
    None, so that a file can supply them.
    """

    def decorate(command: Command) -> Command:
        for entry in reversed([entry for entry in fields(of) if entry.name not in leave_out]):
            assert entry.default is not MISSING
            name = f"--{prefix}" + entry.name.replace("_", "-")
            shown = entry.default not in (None, "", ())
            command = click.option(
                f"{name}/--no-{name[2:]}" if entry.type is bool else name,
                type=_type(entry),
                default=None if prefix else entry.default,
                show_default=_spelled(entry.default) if prefix and shown else shown,
                help=entry.metadata["help"],
            )(command)
        return command

    return decorate


def changes(of: type, values: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Return those settings whose options, with a prefix as in `settings`, are given; fail if one is out of range."""
    named = {entry.name: values[prefix.replace("-", "_") + entry.name] for entry in fields(of)}
    given = {name: value for name, value in named.items() if value is not None}
    with misuse(f"--{prefix}"):  # before a message that begins with the name of the setting
        of(**given)
    return given


def _spelled(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def chosen(of: type, values: dict[str, Any], **others: Any) -> Any:
    """Build a settings dataclass from a command's values, ignoring values that are not its fields."""
    known = {entry.name: values[entry.name] for entry in fields(of) if entry.name in values}
    with misuse():
        return of(**known, **others)


@contextmanager
def misuse(prefix: str = "") -> Iterator[None]:
    """Convert errors about the values of options to usage errors."""
    try:
        yield
    except TransHashError as error:
        raise click.UsageError(f"{prefix}{error}") from None


class Hasher(click.ParamType[str]):
    """An installed hasher, by name, or the file of one."""

    name = "hasher"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name or path, or fail if there is neither such a hasher nor such a file."""
        from transhash.errors import ModelError
        from transhash.hashers import hasher_file

        try:
            hasher_file(value)
        except ModelError as error:
            self.fail(str(error), param, ctx)
        return value


class ShareOfImages(click.ParamType[str]):
    """One of N shares of the images, as I/N."""

    name = "I/N"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the text, or fail if it is not I/N."""
        from transhash.encoding.job import parse_share
        from transhash.errors import SourceError

        try:
            parse_share(value)
        except SourceError as error:
            self.fail(str(error), param, ctx)
        return value


class Channels(click.ParamType[tuple[float, ...]]):
    """One number for each of the channels red, green and blue, separated by commas."""

    name = "R,G,B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return the numbers."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(map(float, value.split(",")))
        except ValueError:
            self.fail(f"{value!r}: give three numbers separated by commas, such as 0.5,0.5,0.5", param, ctx)


class Numbers(click.ParamType[tuple[int, ...]]):
    """Whole numbers separated by commas."""

    name = "numbers"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the numbers."""
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in value.split(",") if word.strip()]
        if not all(word.isascii() and word.isdecimal() and len(word) < 10 for word in words):
            self.fail(f"{value!r}: give whole numbers separated by commas, such as 16,32,48", param, ctx)
        return tuple(map(int, words))


def _type(entry: Field[Any]) -> Any:
    """Return the option type of a field, including its range or choices."""
    plain = get_args(entry.type)[0] if isinstance(entry.type, types.UnionType) else entry.type
    low, high = entry.metadata["low"], entry.metadata["high"]
    if entry.type == tuple[int, ...]:
        return Numbers()
    if entry.type == tuple[float, ...]:
        return Channels()
    if entry.metadata["of"]:
        return click.Choice(entry.metadata["of"])
    if low is None:
        return plain
    return click.IntRange(int(low), int(high)) if plain is int else FloatRange(low, high)


def one_start(pretrained: bool, weights: Path | None) -> None:
    """Fail if both --pretrained and --weights are given."""
    if pretrained and weights:
        raise click.UsageError("--pretrained and --weights cannot be combined; choose one")


def lines(name: str, null: bool = False) -> Iterator[str]:
    """Yield the entries of a list file (``-``: standard input): non-blank lines or, with `null`, NUL-ended."""
    with click.open_file(name, "rb") as file:
        for line in file.read().removeprefix(codecs.BOM_UTF8).split(b"\0" if null else b"\n"):
            item = line if null else line.rstrip(b"\r")
            if item.strip():
                yield os.fsdecode(item)


def given(**params: int | None) -> dict[str, int]:
    """Return the parameters that are not None."""
    return {name: value for name, value in params.items() if value is not None}
