"""A limit on the memory that all threads of a process use for decoding."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import ImageError

TOTAL = 3 << 29  # bytes: 1.5 GiB

_changed = threading.Condition()
_used = 0


@contextmanager
def reserved(size: int) -> Iterator[None]:
    """Wait until `size` bytes are free, and reserve them during the block.

    A thread must not wait for a second reservation while it holds one.

    Raises ImageError if `size` exceeds the limit.
    """
    global _used
    if size > TOTAL:
        raise ImageError(f"takes too much memory to decode: {size / 2**30:.1f} GiB, at most {TOTAL / 2**30:.1f}")
    with _changed:
        _changed.wait_for(lambda: _used + size <= TOTAL)
        _used += size
    try:
        yield
    finally:
        with _changed:
            _used -= size
            _changed.notify_all()


def _reset() -> None:
    """Drop the reservations of threads that do not exist in a forked process."""
    global _changed, _used
    _changed, _used = threading.Condition(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset)
