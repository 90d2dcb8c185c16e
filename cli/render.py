"""All output of `th`: answers go to stdout, progress and notes to stderr."""

import io
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import click

from transhash.errors import redacted
from transhash.system.progress import Progress
from transhash.system.texts import display, printable

FIRST = os.environ.get("RANK", "0") == "0"  # of the processes that torchrun starts, only the first prints

_REPORT = os.environ.get("TORCHELASTIC_ERROR_FILE")  # where torchrun looks for the error of a process

_LONGEST = 1000  # characters of an error message

_LINE_EVERY = 5.0  # seconds between progress lines if stderr is not a terminal


class _Style:
    """How to print to stderr."""

    quiet = False
    json = False


_style = _Style()


def use_quiet(enabled: bool) -> None:
    """Turn progress and notes off, or on again."""
    _style.quiet = enabled


def use_json(enabled: bool) -> None:
    """Print notes and errors to stderr as JSON objects, one per line, without progress; or as text again."""
    _style.json = enabled


def event(name: str, **values: Any) -> None:
    """Print a JSON object to stderr, on one line."""
    if FIRST:
        click.echo(_json({"event": name, **values}), err=True)


def error(message: str) -> None:
    """Print an error message on one line; torchrun prints it for processes other than the first."""
    message = _shortened(printable(redacted(message)))
    if _REPORT and not FIRST:
        with open(_REPORT, "w") as report:
            report.write(_json({"message": f"Error: {message}", "timestamp": int(time.time())}))
    elif _style.json:
        event("error", message=message)
    else:
        click.echo(f"Error: {message}", err=True)


def _json(value: Any, indent: int | None = None) -> str:
    import json  # like csv and pathlib, not loaded for `th --help`

    return json.dumps(value, indent=indent)


def _shortened(message: str) -> str:
    """Cut the middle out of a very long message, which usually repeats a long value."""
    return message if len(message) <= _LONGEST else f"{message[: _LONGEST // 2]}…{message[-_LONGEST // 2 :]}"


def note(message: str) -> None:
    """Print a note to stderr."""
    if _style.json:
        event("note", message=printable(message))
    elif FIRST and not _style.quiet:
        click.echo(printable(message), err=True)


def line(message: str = "") -> None:
    """Print a line of an answer."""
    click.echo(printable(message))


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], indent: str = "") -> None:
    """Print aligned columns: numbers are right-aligned, and the last column is not padded."""
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
    """Return a path as text for `line` and `table`."""
    return os.fsdecode(name)


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: "0 images", "1 image", "12,345 images", "10 classes"."""
    ending = "es" if noun.endswith("s") else "s"
    return f"{count:,} {noun}{ending * (count != 1)}"


def size(count: int) -> str:
    """Return a number of bytes in a unit that people read: "1 byte", "512 bytes", "13.4 kB"."""
    value, unit = float(count), ""
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.1f} {unit}" if unit else counted(count, "byte")


def document(value: Any) -> None:
    """Print one JSON document. Undecodable bytes of a path become surrogates, \\udc80 to \\udcff."""
    click.echo(_json(value, indent=1))


def csv_rows(headers: Sequence[str], rows: Iterator[Sequence[object]]) -> None:
    """Print CSV (RFC 4180); paths are written byte for byte."""
    out = sys.stdout.buffer
    out.write(csv_line(headers))
    for row in rows:
        out.write(csv_line(row))
    out.flush()


def csv_line(row: Sequence[object]) -> bytes:
    """Return a line of CSV."""
    import csv

    text = io.StringIO()
    csv.writer(text).writerow(row)
    return os.fsencode(text.getvalue())


def paths(names: Iterable[bytes], null: bool) -> None:
    """Print paths byte for byte, for other programs: one per line or, with `null`, each followed by a NUL byte."""
    for name in names:
        sys.stdout.buffer.write(name + (b"\0" if null else b"\n"))
    sys.stdout.buffer.flush()


class _Lines(io.TextIOBase):
    """A stream that turns a redrawn progress bar into log lines."""

    def write(self, text: str) -> int:
        """Print the text unless it is blank."""
        shown = " ".join(text.strip("\r\n :").split())  # tqdm pads rates
        if shown:
            click.echo(shown, err=True)
        return len(text)


def _bar_format(total: int | None) -> str:
    """Return the format of a progress bar, with a rate per second, where tqdm would change to seconds per image."""
    if not sys.stderr.isatty():
        return "{desc}{n_fmt}/{total_fmt}{unit}, {rate_noinv_fmt}, {remaining} left{postfix}"
    if total:
        return "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]"
    return "{desc}{n_fmt}{unit} [{elapsed}, {rate_noinv_fmt}{postfix}]"


@contextmanager
def progress(total: int | None, unit: str, *, initial: int = 0) -> Iterator[Any]:
    """Show a tqdm bar with rate and time left on stderr, or a line every few seconds if stderr is not a terminal."""
    from tqdm import tqdm

    terminal = sys.stderr.isatty()
    bar = tqdm(
        total=total,
        initial=initial,
        unit=f" {unit}",
        file=sys.stderr if terminal else _Lines(),
        mininterval=0.1 if terminal else _LINE_EVERY,
        delay=0 if terminal else _LINE_EVERY,  # no rate is known earlier
        maxinterval=10.0 if terminal else 4 * _LINE_EVERY,
        dynamic_ncols=terminal,
        disable=_style.quiet or _style.json or not FIRST,
        bar_format=_bar_format(total),
    )
    with bar:
        yield bar


@contextmanager
def rows(unit: str = "rows") -> Iterator[Progress]:
    """Yield a progress callback that shows the rows done and, once known, their total."""
    with ExitStack() as stack:
        bar: Any = None

        def show(done: int, total: int) -> None:
            nonlocal bar
            if bar is None:
                bar = stack.enter_context(progress(total or None, unit))
            bar.total, bar.bar_format = total or None, _bar_format(total)
            bar.update(done - bar.n)

        yield show


def skipped(names: Sequence[tuple[bytes, str]]) -> None:
    """Print each skipped path with its reason, one per line."""
    for name, reason in names:
        if _style.json:
            event("skipped", path=display(name), reason=printable(reason))
        else:
            note(f"skipped {display(name)}: {reason}")
