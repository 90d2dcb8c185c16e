"""The demo: a hasher is trained on handwritten digits, and its codes are compared with others of the same size."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ..errors import TransHashError
from ..system.arguments import checked
from .prepared import Demo

Command = list[str]


def in_a_process(arguments: Command) -> None:
    """Run a `th` command in a separate process, which prints its output. Raises TransHashError if it fails."""
    done = subprocess.run([sys.executable, "-m", "transhash", *arguments])
    if done.returncode:
        raise TransHashError(f"th {arguments[0]} ended with exit code {done.returncode}; its message is above")


@checked
def make_demo(
    folder: str | Path = "th-demo",
    *,
    run: Callable[[Command], object] = in_a_process,
    on_prepared: Callable[[Demo], object] = lambda demo: None,
    on_compare: Callable[[], object] = lambda: None,
) -> Demo:
    """Train, encode, index, query and evaluate on 1,797 handwritten digits, and write a report, as `th demo` does.

    It takes minutes and downloads nothing. A folder in which the demo was interrupted is resumed; one in which it was
    completed is emptied first.

    Args:
        folder: working folder.
        run: called with the arguments of every `th` command of the demo, to run it; by default in a process.
        on_prepared: called with the demo before its first command.
        on_compare: called after the last command, before the codes are compared with others.

    Returns:
        The demo: its files, the report among them, and the rows of the comparison.

    Raises OutputError if the folder holds anything else, ResultsError or SourceError if a library is missing,
    TransHashError if a command fails.
    """
    from .comparison import write
    from .prepared import prepare

    started = time.perf_counter()
    demo = prepare(Path(folder))
    on_prepared(demo)
    for arguments in demo.commands():
        run(arguments)
    on_compare()
    demo.table.extend(write(demo, time.perf_counter() - started))
    return demo
