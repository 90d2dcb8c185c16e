"""Delay forks of this process while a thread multiplies matrices with numpy.

Before a fork, OpenBLAS ends its threads, without waiting for a product that another thread computes with them: that
thread then waits forever. Files are checked in forked processes while other threads compute codes, as in `th serve`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, get_ident

_changed = Condition()
_multiplying: list[int] = []  # the identifiers of threads
_forking: list[int] = []


@contextmanager
def unforked() -> Iterator[None]:
    """Run the block, in which numpy multiplies matrices, while no other thread forks the process."""
    with _changed:
        _changed.wait_for(lambda: not _forking)
        _multiplying.append(get_ident())
    try:
        yield
    finally:
        with _changed:
            _multiplying.remove(get_ident())
            _changed.notify_all()


def _before() -> None:
    _changed.acquire()
    _forking.append(get_ident())
    _changed.wait_for(lambda: set(_multiplying) <= {get_ident()})


def _after() -> None:
    _forking.remove(get_ident())
    _changed.notify_all()
    _changed.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
