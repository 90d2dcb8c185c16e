"""`th`, as a person runs it."""

import subprocess
import sys

from transhash.errors import ResultsError


def th(*words: object, show: bool = False) -> None:
    """Run a command of `th` in a process of its own, whose progress can be shown; Ctrl-C waits until it has saved.

    Raises ResultsError if it fails.
    """
    command = [sys.executable, "-c", "from transhash_cli.main import main; main()", *map(str, words)]
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
        raise ResultsError(f"th {words[0]}: {lines[-1] if lines else f'exit code {process.returncode}'}")
