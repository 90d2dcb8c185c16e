"""Child processes: their parent handles signals, and they end when it does.

Fast to import, because a process calls these functions before it loads numpy and torch.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PR_SET_PDEATHSIG = 1


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Block SIGINT and SIGTERM in this thread and in processes that it starts; this thread gets them later."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def leave_signals_to_parent() -> None:
    """Ignore SIGINT and SIGTERM, which terminals and services send to every process: the parent ends the run."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):  # the parent blocked them while it started this process
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)


def end_with(parent: int) -> None:
    """Have the system kill this process as soon as its parent, of this id, has ended; only on Linux."""
    if sys.platform == "linux":  # works even while a library is being loaded
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def end_with_parent() -> None:
    """End this process as soon as its parent has ended, even by kill -9. Otherwise it would wait forever."""
    parent = parent_process()
    if parent is None or parent.pid is None:
        return
    end_with(parent.pid)

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
