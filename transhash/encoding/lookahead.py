"""A bounded look-ahead: work is submitted ahead of its results, up to a number of tasks and of bytes."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

from ..sources.base import Item, Skipped

MAX_BYTES = 1 << 28  # image data held by tasks under way


def map_ahead(
    executor: Executor, work: Callable[..., Any], tasks: Iterator[Any], *args: Any, ahead: int
) -> Iterator[Any]:
    """Yield ``work(task, *args)`` for every task, in order.

    At most `ahead` tasks are under way, and no more of them than hold `MAX_BYTES` of image data, but always one.
    """
    pending: deque[tuple[Future[Any], int]] = deque()
    held = 0
    try:
        for task in tasks:
            size = data_bytes(task)
            pending.append((executor.submit(work, task, *args), size))
            held += size
            while len(pending) > ahead or (held > MAX_BYTES and len(pending) > 1):
                done, size = pending.popleft()
                held -= size
                yield done.result()
        while pending:
            yield pending.popleft()[0].result()
    finally:
        for future, _ in pending:
            future.cancel()


def chunks(items: Iterator[Item | Skipped], length: int) -> Iterator[list[Item | Skipped]]:
    """Yield lists of `length` items; shorter ones where the items hold much data."""
    chunk: list[Item | Skipped] = []
    held = 0
    for item in items:
        chunk.append(item)
        held += data_bytes(item)
        if len(chunk) == length or held > MAX_BYTES // 4:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def data_bytes(task: Any) -> int:
    """Return how many bytes of image data an item, or a list of items, holds."""
    if isinstance(task, list):
        return sum(map(data_bytes, task))
    data = getattr(task, "data", None)
    return 0 if data is None else len(data) if isinstance(data, bytes) else int(data.nbytes)
