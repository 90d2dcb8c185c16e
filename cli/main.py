"""The entry point of `th`. Everything else is imported inside `main`, where Ctrl-C is already one line."""

import os
import signal
import sys

from . import streams

_INTERRUPTED = 130


def main() -> None:
    """Run `th` and exit; the codes are those of docs/exit-codes.md."""
    code = _INTERRUPTED
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        streams.prepare()
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before the libraries that bring OpenMP are loaded
        from .running import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        _exit_at_once_on_signals(code)
        sys.stderr.write("Error: interrupted; nothing that was written before has changed\n")
    except ImportError as error:  # of what is needed to start: an unsupported system, a broken installation
        code = 1
        sys.stderr.write(f"Error: {error}\n")
    _exit_at_once_on_signals(code)
    streams.drop_unwritten()
    sys.exit(code)


def _exit_at_once_on_signals(code: int) -> None:
    """Let a signal cut the exit short: the outcome is known, but threads may still be at work on a large image."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *about: os._exit(code))
