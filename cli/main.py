"""The entry point of `th`. Everything else is imported inside `main`, which already turns Ctrl-C into one line."""

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
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before the libraries that use OpenMP are loaded
        from .running import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        _exit_at_once_on_signals(code)
        sys.stderr.write("Error: interrupted; files written earlier are unchanged\n")
    except ImportError as error:  # an unsupported system or a broken installation
        code = 1
        sys.stderr.write(f"Error: {error}\n")
    _exit_at_once_on_signals(code)
    streams.drop_unwritten()
    sys.exit(code)


def _exit_at_once_on_signals(code: int) -> None:
    """Exit at once on a further signal: the outcome is known, but threads may still be decoding a large image."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *about: os._exit(code))
