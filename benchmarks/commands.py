"""Run `th` in a subprocess."""

import subprocess
import sys

from transhash.errors import ResultsError


def th(*arguments: object, show: bool = False) -> None:
    """Run a `th` command in a subprocess. On Ctrl-C, wait until the subprocess has saved its state.

    With `show`, its progress goes to standard error. Raises ResultsError if the command fails.
    """
    command = [sys.executable, "-c", "from transhash_cli.main import main; main()", *map(str, arguments)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=None if show else subprocess.PIPE, text=True
    )
    try:
        _, errors = process.communicate()
    except KeyboardInterrupt:
        process.wait()
        raise
    if process.returncode:
        lines = (errors or "").strip().splitlines()
        raise ResultsError(f"th {arguments[0]}: {lines[-1] if lines else f'exit code {process.returncode}'}")
