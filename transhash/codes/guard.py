"""Reading what HDF5 may not survive: in a child process, before this one dares to.

Over damaged files HDF5 has crashed, looped for ever and asked for all the memory there is.
"""

import faulthandler
import gc
import json
import os
import select
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from .. import memory
from ..errors import CodesError
from ..progress import Progress, silent

PATIENCE = 10.0  # seconds to wait for a child that says nothing, and more for a large file:
_RATE = 20e6  # bytes a second
_STEP = 1.0  # seconds that a message adds, up to the above
_MEMORY = 1 << 30  # bytes that a child may take, and four times the file's size

Task = Callable[[Progress], Any]
_FORKS = hasattr(os, "fork") and sys.platform != "darwin"  # whose libraries crash the children of threaded processes


def guarded(task: Task, path: Path, on_rows: Progress = silent) -> Any:
    """Run a task that reads a file in a child process, and return what it returned.

    The child uses h5py and numpy alone, and no lock that another thread could hold at the moment of the fork. Where
    processes cannot fork safely the task runs in this one.

    Args:
        task: reads the file; reports how many rows it has read, and how many there are, every few megabytes; returns
            what JSON can hold.
        path: the file.
        on_rows: is called with what it reports, in this process.

    Raises the CodesError of the task, and one of its own if the child crashed or stood still for seconds.
    """
    size = path.stat().st_size
    patience = PATIENCE + size / _RATE
    started = _start(task, path, size, patience) if _FORKS else None
    if started is None:
        return task(on_rows)
    child, pipe = started
    alive = False
    try:
        for kind, value in _messages(pipe, patience):
            alive = True
            if kind == "alive":
                continue
            if kind == "rows":
                on_rows(*value)
            elif kind == "answer":
                return value
            elif kind == "damage":
                raise CodesError(str(value))
            else:  # what the task met has nothing to do with the file's content: this process shall meet it itself
                return task(on_rows)
    finally:
        os.close(pipe)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(child, 0)
    if alive:
        raise CodesError(f"{path}: damaged: reading it crashed, or took too long; encode again")
    return task(on_rows)  # the fork itself failed


def _start(task: Task, path: Path, size: int, patience: float) -> tuple[int, int] | None:
    """Fork a child that runs the task, and return its id and the pipe it writes to; None if there is no room."""
    pipe, writing = os.pipe()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that there are threads
            child = os.fork()
    except OSError:
        os.close(pipe)
        os.close(writing)
        return None
    if child == 0:
        _serve(task, path, size, patience, writing)
    os.close(writing)
    return child, pipe


def _messages(pipe: int, patience: float) -> Iterator[tuple[str, Any]]:
    """Yield what the child says, until it ends or says nothing for too long."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    rest = b""
    left = patience
    while left > 0:
        since = time.monotonic()
        data = os.read(pipe, 1 << 16) if poll.poll(left * 1000) else b""
        left -= time.monotonic() - since
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield tuple(json.loads(line))
        left = min(patience, left + len(lines) * _STEP)


def _serve(task: Task, path: Path, size: int, patience: float, pipe: int) -> NoReturn:
    """Run the task in the child, and end it without anything that an end of the parent would do."""

    def say(kind: str, value: Any) -> None:
        signal.alarm(int(2 * patience) + 1)  # should nobody be left to end this process
        os.write(pipe, json.dumps((kind, value)).encode() + b"\n")

    try:
        gc.disable()  # what the parent has thrown away is not this process's to close
        _be_quiet()
        say("alive", None)
        _leave_no_core()
        memory.limit_growth(_MEMORY + 4 * size)
        say("answer", task(lambda done, total: say("rows", (done, total))))
    except CodesError as error:
        say("damage", str(error))
    except MemoryError:
        say("damage", f"{path}: damaged: asks for more memory than its size explains; encode again")
    except BaseException:
        say("other", None)
    finally:
        os._exit(0)


def _be_quiet() -> None:
    """End at a signal without a word, and say nothing of a crash."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    faulthandler.disable()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(nowhere, handle)


def _leave_no_core() -> None:
    import resource  # POSIX only, like fork

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
