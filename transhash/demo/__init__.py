"""The demo: find edited copies of photographs, then train a hasher on digits and compare its codes with others."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ..errors import TransHashError
from ..system.arguments import checked
from .copies import EditResult
from .prepared import Demo

Command = list[str]

_TITLE = "Copies of photographs, and digits in 8 bytes each"


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
    on_searched: Callable[[Demo, list[EditResult]], object] = lambda demo, results: None,
    on_compare: Callable[[], object] = lambda: None,
) -> Demo:
    """Find copies of photographs, train and evaluate on handwritten digits, and write a report, as `th demo` does.

    It takes minutes and downloads nothing. A folder in which the demo was interrupted is resumed; one in which it was
    completed is emptied first.

    Args:
        folder: working folder.
        run: called with the arguments of every `th` command of the demo, to run it; by default in a process.
        on_prepared: called with the demo once its folder is there.
        on_searched: called after the search for the copies, with the demo and the results of every edit and of all.
        on_compare: called after the last command, before the codes are compared with others.

    Returns:
        The demo: its files, the report among them, and the rows of the comparison.

    Raises OutputError if the folder holds anything else, ResultsError or SourceError if a library is missing,
    TransHashError if a command fails.
    """
    from .. import report
    from . import copies, photographs
    from .comparison import compare
    from .prepared import prepare

    started = time.perf_counter()
    demo = prepare(Path(folder))
    on_prepared(demo)
    photographs.write(demo.photos, demo.copies)
    for arguments in demo.photo_commands():
        run(arguments)
    answers = copies.search(demo)
    copies.draw_examples(demo, answers)
    on_searched(demo, copies.results(answers))
    for arguments in demo.digit_commands():
        run(arguments)
    on_compare()
    compared, table = compare(demo, time.perf_counter() - started)
    demo.table.extend(table)
    report.write_html(demo.report, [*copies.records(demo, answers), *compared], _TITLE)
    return demo
