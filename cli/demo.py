"""`th demo`."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options, render

if TYPE_CHECKING:
    from transhash.demo.copies import EditResult
    from transhash.demo.prepared import Demo

_WRAP = 85  # characters after which a command continues on the next line


@click.command()
@click.option(
    "-o",
    "--output",
    type=options.Output(),
    default="th-demo",
    show_default=True,
    help="Working folder. A completed demo in it is replaced; an interrupted one is resumed.",
)
def demo(output: Path) -> None:
    """Find edited copies of 25 photographs, then train and evaluate a hasher on 1,797 handwritten digits.

    \b
    Example:
        th demo

    Takes about two minutes of processor time and downloads nothing. It prints every command that it runs, so you can
    repeat it, and writes a picture of the copies and a report. After Ctrl-C, th demo resumes where it stopped.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # on a network this small, threads mostly wait for one another
    import transhash

    found = transhash.make_demo(output, run=_run, on_prepared=_prepared, on_searched=_searched, on_compare=_comparing)
    from transhash.demo.comparison import BYTES, SCORE

    render.line()
    rows = [(row.method, int(row.values[BYTES].value), f"{row.values[SCORE].value:.4f}") for row in found.table]
    render.table(("method", BYTES, SCORE), rows)
    render.line()
    render.line("You can also run the commands above yourself. The report, with pictures:")
    render.line(str(found.report.absolute()))


def _prepared(demo: "Demo") -> None:
    written = f"writing photographs, edited copies of them, and digits to {demo.folder}"
    render.note(f"{demo.folder}: resuming" if demo.resumed else written)


def _searched(demo: "Demo", results: "list[EditResult]") -> None:
    render.line()
    render.line("The verdicts on the originals of all copies, and other photographs that their searches find:")
    columns = ("edit", "copies", "copy", "likely", "missed", "others")
    rows = [(each.edit, each.copies, each.copy, each.likely, each.missed, each.others) for each in results]
    render.table(columns, rows)
    render.note(f"wrote {demo.picture}")


def _comparing() -> None:
    render.note("comparing with float embeddings and a perceptual hash")


def _run(arguments: list[str]) -> None:
    """Print a `th` command in shell syntax, and run it in this process."""
    render.line()
    for number, part in enumerate(_spelled(["th", *arguments])):
        render.line(part if number else f"$ {part}")
    name, *rest = arguments
    root = click.get_current_context().find_root()
    assert isinstance(root.command, click.Group)
    command = root.command.get_command(root, name)
    assert command is not None
    with command.make_context(name, rest, parent=root) as context:
        command.invoke(context)


def _spelled(words: list[str]) -> list[str]:
    """Return a command in shell syntax, wrapped into lines."""
    lines = [""]
    for word in map(shlex.quote, words):
        if word.startswith("-") and len(lines[-1]) > _WRAP:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines
