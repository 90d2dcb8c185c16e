"""The standard streams of a process: there even if the caller closed them, and never broken at exit."""

import io
import os
import sys
from contextlib import suppress


def prepare() -> None:
    """Put something where a standard stream was closed, and write characters that an encoding lacks as escapes.

    Otherwise the next file to be opened would be taken for the stream. A closed stdin is empty, what is written to a
    closed stderr is lost, and writing to a closed stdout fails.
    """
    for number, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # takes the lowest free number
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def drop_unwritten() -> None:
    """Drop output that can no longer be written, so that the interpreter does not complain about it at exit."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
            with suppress(OSError):
                stream.flush()
