"""Run `th` in a child process where a library may abort it, so that a crash is one line and not a stack trace."""

import contextlib
import os
import signal
import sys
from itertools import pairwise
from types import FrameType
from typing import IO

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_INTERRUPTED = 130
_LONGEST = 200  # characters of what the library said


def run_in_child(arguments: list[str]) -> tuple[int, str] | None:
    """Continue in a child process if these arguments use Ray, whose C++ code aborts a process that lost its cluster.

    Call it before there are threads.

    Returns:
        None in the process that does the work. In its parent, which hands it signals and waits for its end, the exit
        code, and a message if it was killed.
    """
    if not _uses_ray(arguments) or not hasattr(os, "fork"):
        return None
    import tempfile

    from transhash.system.child_process import end_with

    parent = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    with tempfile.TemporaryFile() as native:
        child = os.fork()
        if child == 0:
            end_with(parent)
            os.setpgid(0, 0)  # a terminal sends Ctrl-C to the parent alone, which hands it over once
            _divert_native_errors(native)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            return None

        def forward(number: int, frame: FrameType | None) -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)

        for number in _SIGNALS:
            signal.signal(number, forward)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if -code in _SIGNALS:  # another signal came after it had reported the interruption
            return _INTERRUPTED, ""
        return (code, "") if code >= 0 else (1, _reason(-code, native))


def _uses_ray(arguments: list[str]) -> bool:
    return "--engine=ray" in arguments or ("--engine", "ray") in pairwise(arguments)


def _divert_native_errors(native: IO[bytes]) -> None:
    """Send what libraries write to descriptor 2 to a file; Python still writes to the terminal."""
    sys.stderr.flush()
    terminal = os.dup(2)
    os.dup2(native.fileno(), 2)
    sys.stderr = os.fdopen(terminal, "w", buffering=1, errors="backslashreplace")


def _reason(number: int, native: IO[bytes]) -> str:
    native.seek(0)
    lines = native.read().decode(errors="backslashreplace").strip().splitlines()
    checks = [line for line in lines if "Check failed" in line] or lines[-1:]
    said = f": {' '.join(checks[0].split())[:_LONGEST]}" if checks else ""
    name = signal.Signals(number).name
    return f"Ray ended this process ({name}){said}; finished work is kept, and the same command resumes"
