"""The number of threads that computations of this process may use."""

import os


def threads() -> int:
    """Return OMP_NUM_THREADS, as FAISS reads it, or the number of cores of this process."""
    limit = os.environ.get("OMP_NUM_THREADS", "")
    if limit.isdecimal() and int(limit):
        return int(limit)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
