"""Read an untrusted HDF5 or Parquet file in a child process first.

On damaged files the libraries have crashed, looped forever and allocated all memory.
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

from ..errors import CodesError, one_line
from ..system import memory
from ..system.files import display
from ..system.progress import Progress, silent

if sys.platform != "win32":
    import resource

PATIENCE = 10.0  # seconds to wait for a silent child
_RATE = 20e6  # bytes of the file that add a second to the limit
_STEP = 1.0  # seconds that each message adds, up to the limit
_EXTRA_MEMORY = 1 << 30  # bytes that a child may allocate, besides four times the file's size

Task = Callable[[Progress], Any]
# On macOS, libraries crash the forked children of threaded processes.
_FORKS = hasattr(os, "fork") and sys.platform != "darwin"


def guarded(task: Task, path: Path, on_rows: Progress = silent, room: int = _EXTRA_MEMORY) -> Any:
    """Run a task that reads a file in a child process, and return its result.

    The child uses no lock that another thread could hold at the moment of the fork: h5py and numpy, or pyarrow
    without its threads, and no module that is not imported yet. On systems where processes cannot fork safely, the
    task runs in this process.

    Args:
        task: reads the file; reports the number of rows read and the total every few megabytes; returns a value that
            JSON can hold.
        path: the file.
        on_rows: called with these reports, in this process.
        room: bytes that the child may allocate, besides four times the file's size.

    Raises the CodesError or OSError of the task, and CodesError if the child crashed, said nothing for seconds or
    could not be started.
    """
    if not _FORKS:
        return task(on_rows)
    size = path.stat().st_size
    patience = PATIENCE + size / _RATE
    child, pipe = _start(task, path, size, patience, room)
    try:
        for kind, value in _messages(pipe, child, patience):
            if kind == "rows":
                on_rows(*value)
            elif kind == "answer":
                return value
            elif kind == "damage":
                raise CodesError(str(value))
            else:
                raise OSError(*value, str(path))
    finally:
        os.close(pipe)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(child, 0)
    raise CodesError(f"{display(path)}: damaged: reading it crashed, or took too long; encode again")


def _start(task: Task, path: Path, size: int, patience: float, room: int) -> tuple[int, int]:
    """Fork a child that runs the task, and return its id and the pipe it writes to.

    Raises CodesError if the system has no process or file handle left: the file is not read without a child.
    """
    try:
        pipe, writing = map(_above_standard, os.pipe())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python and LanceDB warn of threads; the child uses none
                child = os.fork()
        except OSError:
            os.close(pipe)
            os.close(writing)
            raise
    except OSError as error:
        raise CodesError(f"{display(path)}: cannot start the process that checks it ({one_line(error)})") from error
    if child == 0:
        _serve(task, path, size, patience, room, writing)
    os.close(writing)
    return child, pipe


def _above_standard(handle: int) -> int:
    """Return a handle above 2 in place of this one: the child redirects those below, open or not."""
    import fcntl  # POSIX only, like fork

    if handle > 2:
        return handle
    moved = fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, 3)
    os.close(handle)
    return moved


def _messages(pipe: int, child: int, patience: float) -> Iterator[tuple[str, Any]]:
    """Yield the messages of the child until it ends or is silent for too long.

    Time in which the child waits for a processor does not count: on a busy machine that may be most of it.
    """
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    rest = b""
    left = patience
    while left > 0:
        since, queued = time.monotonic(), _queued(child)
        ready = poll.poll(left * 1000)
        left -= time.monotonic() - since - (_queued(child) - queued)
        if not ready:
            continue
        data = os.read(pipe, 1 << 16)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield tuple(json.loads(line))
        left = min(patience, left + len(lines) * _STEP)


def _queued(process: int) -> float:
    """Return the seconds that a process has waited for a processor, where the system tells (Linux); else 0."""
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{process}/schedstat", "rb") as file:
        return int(file.read().split()[1]) / 1e9
    return 0.0


def _serve(task: Task, path: Path, size: int, patience: float, room: int, pipe: int) -> NoReturn:
    """Run the task in the child and exit without the parent's cleanup."""

    def say(kind: str, value: Any) -> None:
        signal.alarm(int(20 * patience) + 1)  # in case no parent is left to end this process
        os.write(pipe, json.dumps((kind, value)).encode() + b"\n")

    try:
        gc.disable()  # objects that the parent dropped must not be closed here
        _be_quiet()
        _disable_core_dumps()
        memory.limit_growth(room + 4 * size)
        say("answer", task(lambda done, total: say("rows", (done, total))))
    except CodesError as error:
        say("damage", str(error))
    except MemoryError:
        say("damage", f"{display(path)}: damaged: asks for more memory than its size explains; encode again")
    except OSError as error:
        say("system", (error.errno, error.strerror))
    except BaseException as error:
        say("damage", f"{display(path)}: damaged: reading it raised {type(error).__name__}; encode again")
    finally:
        os._exit(0)


def _be_quiet() -> None:
    """Exit silently on signals and crashes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    faulthandler.disable()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for handle in (0, 1, 2):
        os.dup2(nowhere, handle)


def _disable_core_dumps() -> None:
    if sys.platform != "win32":
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
