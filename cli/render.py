"""Everything that `th` prints. Answers go to stdout, progress and remarks to stderr."""

import csv
import io
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from transhash.errors import redacted
from transhash.system.files import display, printable
from transhash.system.progress import Progress

FIRST = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts, one speaks and writes

_REPORT = os.environ.get("TORCHELASTIC_ERROR_FILE")  # where torchrun looks for what another one met

_LONGEST = 1000  # characters of an error

_LINE_EVERY = 5.0  # seconds between progress lines where stderr is no terminal


@dataclass
class _Style:
    """How to print to stderr."""

    quiet: bool = False
    json: bool = False


_style = _Style()


def use_quiet(wanted: bool) -> None:
    """Print no progress and no remarks from now on, or print them again."""
    _style.quiet = wanted


def use_json(wanted: bool) -> None:
    """Print remarks and errors to stderr as JSON objects, one per line, and no progress; or text again."""
    _style.json = wanted


def event(name: str, **values: Any) -> None:
    """Print a JSON object to stderr, on one line."""
    if FIRST:
        click.echo(json.dumps({"event": name, **values}), err=True)


def error(message: str) -> None:
    """Print the one line that says what went wrong; torchrun prints it for a process that is not the first."""
    message = _shortened(printable(redacted(message)))
    if _REPORT and not FIRST:
        Path(_REPORT).write_text(json.dumps({"message": f"Error: {message}", "timestamp": int(time.time())}))
    elif _style.json:
        event("error", message=message)
    else:
        click.echo(f"Error: {message}", err=True)


def _shortened(message: str) -> str:
    """Cut the middle out of a message that repeats a very long value."""
    return message if len(message) <= _LONGEST else f"{message[: _LONGEST // 2]}…{message[-_LONGEST // 2 :]}"


def note(message: str) -> None:
    """Print a remark to stderr."""
    if _style.json:
        event("note", message=printable(message))
    elif FIRST and not _style.quiet:
        click.echo(printable(message), err=True)


def line(message: str = "") -> None:
    """Print a line of an answer."""
    click.echo(printable(message))


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], indent: str = "") -> None:
    """Print aligned columns; numbers to the right, the last column as long as it is."""
    cells = [[printable(str(value)) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    numeric = [
        bool(rows) and all(isinstance(row[place], int | float) for row in rows) for place in range(len(headers))
    ]
    for row in [list(headers), *cells]:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        click.echo(indent + "  ".join(padded).rstrip())


def path(name: bytes) -> str:
    """Return a path as `line` and `table` take it."""
    return os.fsdecode(name)


def document(value: Any) -> None:
    """Print one JSON document. Undecodable bytes of a path come out as \\udc80 to \\udcff, as Python writes them."""
    click.echo(json.dumps(value, indent=1))


def csv_rows(headers: Sequence[str], rows: Iterator[Sequence[object]]) -> None:
    """Print CSV (RFC 4180); paths keep their very bytes."""
    out = sys.stdout.buffer
    out.write(csv_line(headers))
    for row in rows:
        out.write(csv_line(row))
    out.flush()


def csv_line(row: Sequence[object]) -> bytes:
    """Return a line of CSV."""
    text = io.StringIO()
    csv.writer(text).writerow(row)
    return os.fsencode(text.getvalue())


def paths(names: Iterable[bytes], null: bool) -> None:
    """Print paths as they are, for other programs: one a line or, with `null`, each with a NUL byte behind it."""
    for name in names:
        sys.stdout.buffer.write(name + (b"\0" if null else b"\n"))
    sys.stdout.buffer.flush()


class _Lines(io.TextIOBase):
    """Turns a bar that redraws itself into lines of a log."""

    def write(self, text: str) -> int:
        """Print what is not blank."""
        shown = text.strip("\r\n :")
        if shown:
            click.echo(shown, err=True)
        return len(text)


@contextmanager
def progress(total: int | None, unit: str, *, initial: int = 0) -> Iterator[Any]:
    """Show a tqdm bar with rate and time left on stderr, or a line now and then if that is no terminal."""
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    bar = tqdm(
        total=total,
        initial=initial,
        unit=f" {unit}",
        file=sys.stderr if terminal else _Lines(),
        mininterval=0.1 if terminal else _LINE_EVERY,
        delay=0 if terminal else _LINE_EVERY,  # rates are not known before
        maxinterval=10.0 if terminal else 4 * _LINE_EVERY,
        dynamic_ncols=terminal,
        disable=_style.quiet or _style.json or not FIRST,
        bar_format=None if terminal else "{desc}{n_fmt}/{total_fmt}{unit}, {rate_fmt}, {remaining} left{postfix}",
    )
    with bar:
        yield bar


@contextmanager
def rows(unit: str = "rows") -> Iterator[Progress]:
    """Show how many rows are done, and of how many once that is known."""
    with ExitStack() as stack:
        bar: Any = None

        def show(done: int, total: int) -> None:
            nonlocal bar
            if bar is None:
                bar = stack.enter_context(progress(total or None, unit))
            bar.total = total or None
            bar.update(done - bar.n)

        yield show


def skipped(names: Sequence[tuple[bytes, str]]) -> None:
    """Print what was skipped, one line each with its reason."""
    for name, reason in names:
        if _style.json:
            event("skipped", path=display(name), reason=printable(reason))
        else:
            note(f"skipped {display(name)}: {reason}")
