"""The memory of this machine, and limits for a process."""

import os
import sys
from contextlib import suppress

if sys.platform != "win32":
    import resource  # not in a function: in a forked child, it could wait forever for another thread


def installed() -> int | None:
    """Return the physical memory of this machine in bytes, or None if unknown."""
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def limit_growth(size: int) -> None:
    """Limit this process to `size` bytes more memory than it has now.

    Allocations beyond that raise MemoryError. Does nothing where the system has no such limit.
    """
    if sys.platform == "win32":
        return
    with suppress(OSError, ValueError), open("/proc/self/statm", "rb") as file:
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = int(file.read().split()[0]) * resource.getpagesize() + size
        limits = [limit for limit in (wanted, soft, hard) if limit != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_AS, (min(limits), hard))
