"""The measurements that an engine reports, for metrics."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Monitor:
    """Receives measurements from any thread; this one ignores them."""

    def stage(self, name: str, seconds: float) -> None:
        """Take the time that one stage of the work took: ``decode``, ``encode``, ``scan``, ``thumbnail``."""

    def batch(self, name: str, size: int) -> None:
        """Take the number of queries that a stage answered together."""

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Measure a block as a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.stage(name, time.perf_counter() - start)
