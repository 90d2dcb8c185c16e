"""Options and argument types that commands share."""

import types
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_args

import click

Command = Callable[..., Any]

EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EXISTING = click.Path(exists=True, path_type=Path)


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


IMAGES = click.argument("images", type=EXISTING_FOLDER)
LIST = click.option(
    "--list",
    "names",
    type=EXISTING_FILE,
    help="Take only the images that this text file lists: one path a line, relative to IMAGES.",
)
NPROBE = click.option("--nprobe", type=click.IntRange(1, 1 << 24), help="Lists that a search of type ivf looks into.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def settings(of: type) -> Callable[[Command], Command]:
    """Give a command one option for every field of a dataclass of settings (`transhash.settings`)."""

    def decorate(command: Command) -> Command:
        for entry in reversed(fields(of)):
            assert entry.default is not MISSING
            command = click.option(
                "--" + entry.name.replace("_", "-"),
                type=_plain(entry.type),
                default=entry.default,
                show_default=entry.default is not None,
                help=entry.metadata["help"],
            )(command)
        return command

    return decorate


def chosen(of: type, values: dict[str, Any]) -> Any:
    """Build a dataclass of settings from a command's values, and leave the others."""
    return of(**{entry.name: values[entry.name] for entry in fields(of)})


def _plain(annotation: Any) -> Any:
    """Return the type of a value that may also be None."""
    return get_args(annotation)[0] if isinstance(annotation, types.UnionType) else annotation


def given(**params: int | None) -> dict[str, int]:
    """Return the parameters that were given."""
    return {name: value for name, value in params.items() if value is not None}
