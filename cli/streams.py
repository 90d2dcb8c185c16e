"""Make the standard streams usable even if the caller closed them, and quiet at exit if they broke."""

import io
import os
import sys
from contextlib import suppress


def prepare() -> None:
    """Replace closed standard streams, and escape characters that the output encoding lacks.

    Otherwise the next file opened would get the descriptor of the closed stream. A closed stdin reads as empty, text
    written to a closed stderr is lost, and writing to a closed stdout fails.
    """
    for number, mode in enumerate((os.O_RDONLY, os.O_RDONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # gets the lowest free descriptor, which is the closed one
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def drop_unwritten() -> None:
    """Discard output that can no longer be written, so that the interpreter reports no error at exit."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, number)
            os.close(nowhere)
            with suppress(OSError):
                stream.flush()
