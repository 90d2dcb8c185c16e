"""The entry point of `th`. Everything else is imported inside `main`, which already turns Ctrl-C into one line."""

import atexit
import gc
import os
import signal
import sys

from . import streams, supervision

_INTERRUPTED = 130


def main() -> None:
    """Run `th` and exit; the codes are those of docs/exit-codes.md."""
    code = _INTERRUPTED
    try:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        atexit.register(_ignore_signals)  # registered first, so it runs last
        streams.prepare()
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before the libraries that use OpenMP are loaded
        ended = supervision.run_in_child(sys.argv[1:])
        if ended is None:
            gc.disable()  # imports create no garbage; collecting would take a tenth of the time of `th --help`
            from .running import run

            gc.enable()
            code = run(sys.argv[1:])
        else:
            code, message = ended
            if message:
                _print_error(message)
    except KeyboardInterrupt:
        _exit_at_once_on_signals(code)
        _print_error("interrupted; files written earlier are unchanged")
    except ImportError as error:  # an unsupported system or a broken installation
        code = 1
        _print_error(str(error))
    _exit_at_once_on_signals(code)
    streams.drop_unwritten()
    sys.exit(code)


def _print_error(message: str) -> None:
    """Print an error before anything is imported that could."""
    if "--log-json" in sys.argv:
        import json

        message = json.dumps({"event": "error", "message": message})
    else:
        message = f"Error: {message}"
    sys.stderr.write(message + "\n")


def _exit_at_once_on_signals(code: int) -> None:
    """Exit at once on a further signal: the outcome is known, but threads may still be decoding a large image."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *about: os._exit(code))


def _ignore_signals() -> None:
    """Keep the exit code: the interpreter would restore the default handlers, which kill the process, as it ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
