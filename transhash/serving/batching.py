"""Gather concurrent requests, and work on them together in one thread; or one by one in a few threads.

Both refuse tasks that would wait long: an unbounded queue only turns too many requests into late answers.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from ..errors import ServingError
from .monitor import Monitor

Task = TypeVar("Task")
Answer = TypeVar("Answer")

MOST = 64
GATHER = 0.003  # seconds


class BusyError(ServingError):
    """Too many requests are waiting; try again in a second."""


class Batcher(Generic[Task, Answer]):
    """Hands tasks to a function, as many at a time as are waiting.

    A task that arrives alone starts at once. While tasks arrive together, the next batch waits for others, for at
    most `GATHER` seconds.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[Task]], Sequence[Answer | Exception]],
        monitor: Monitor,
        *,
        most: int = MOST,
        gather: float = GATHER,
        waiting: int = 1024,
    ) -> None:
        """Start a thread that calls `work` with 1 to `most` tasks, and expects an answer or an error for each.

        `name` is that of the thread and of the stage in the metrics. At most `waiting` tasks wait.
        """
        self._name = name
        self._work = work
        self._monitor = monitor
        self._most = most
        self._gather = gather
        self._room = waiting
        self._waiting: deque[tuple[Task, Future[Answer]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"transhash-{name}", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Return the number of waiting tasks."""
        return len(self._waiting)

    def submit(self, task: Task) -> "Future[Answer]":
        """Queue a task. Raises BusyError if too many are waiting, ServingError after `close`."""
        future: Future[Answer] = Future()
        with self._changed:
            if self._closed:
                raise ServingError("the service is stopping")
            if len(self._waiting) >= self._room:
                raise BusyError(f"{self._room} requests are waiting already; try again in a second")
            self._waiting.append((task, future))
            if len(self._waiting) in (1, self._most):
                self._changed.notify()
        return future

    def close(self) -> None:
        """Finish the waiting tasks, take no others, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        crowded = False
        while batch := self._take(crowded):
            crowded = len(batch) > 1
            self._finish(batch)

    def _take(self, crowded: bool) -> list[tuple[Task, "Future[Answer]"]]:
        """Wait for tasks and return them; none once the batcher is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if crowded:
                self._changed.wait_for(lambda: len(self._waiting) >= self._most or self._closed, self._gather)
            return [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]

    def _finish(self, batch: list[tuple[Task, "Future[Answer]"]]) -> None:
        wanted = [(task, future) for task, future in batch if future.set_running_or_notify_cancel()]
        if not wanted:
            return
        self._monitor.batch(self._name, len(wanted))
        answers: Sequence[Answer | Exception]
        try:
            with self._monitor.timed(self._name):
                answers = self._work([task for task, _ in wanted])
        except Exception as error:  # on any error, the requests must not wait forever
            answers = [error] * len(wanted)
        for (_, future), answer in zip(wanted, answers, strict=True):
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)


class BoundedPool:
    """A few threads, and a bound on the calls that wait for them."""

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        """Start up to `threads` threads; at most `waiting` calls wait for one."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"transhash-{name}")
        self._free = threading.BoundedSemaphore(threads + waiting)
        self._room = waiting

    def submit(self, work: Callable[..., Answer], *args: Any) -> "Future[Answer]":
        """Call a function in one of the threads. Raises BusyError if too many calls are waiting."""
        if not self._free.acquire(blocking=False):
            raise BusyError(f"{self._room} requests are waiting already; try again in a second")
        try:
            future = self._pool.submit(work, *args)
        except RuntimeError:
            self._free.release()
            raise ServingError("the service is stopping") from None
        future.add_done_callback(lambda _: self._free.release())
        return future

    def close(self) -> None:
        """Drop the waiting calls; calls that have started run to their end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
