"""Pass answers from other threads to the event loop."""

import asyncio
import threading
from collections import deque
from concurrent.futures import Future
from typing import Any


class Deliveries:
    """Wakes the loop once for all answers of a batch; `asyncio.wrap_future` does it for each, which costs more."""

    def __init__(self) -> None:
        """Start without pending answers."""
        self._lock = threading.Lock()
        self._arrived: deque[tuple[asyncio.Future[Any], Future[Any]]] = deque()

    def awaited(self, future: "Future[Any]") -> "asyncio.Future[Any]":
        """Return a future of the running loop that completes with `future`."""
        loop = asyncio.get_running_loop()
        waiting = loop.create_future()
        future.add_done_callback(lambda done: self._arrive(loop, waiting, done))
        return waiting

    def _arrive(self, loop: asyncio.AbstractEventLoop, waiting: "asyncio.Future[Any]", done: "Future[Any]") -> None:
        with self._lock:
            self._arrived.append((waiting, done))
            if len(self._arrived) > 1 or loop.is_closed():
                return
        loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        with self._lock:
            arrived, self._arrived = self._arrived, deque()
        for waiting, done in arrived:
            if waiting.done():  # nobody is waiting any longer
                continue
            if done.cancelled():
                waiting.cancel()
            elif error := done.exception():
                waiting.set_exception(error)
            else:
                waiting.set_result(done.result())
