"""A bounded look-ahead: images are decoded ahead of their use, within limits on tasks and bytes."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from ..errors import ImageError
from ..system.files import MAX_PATH
from . import decode
from .base import ImageSource, Item, Skipped

MAX_BYTES = 1 << 28  # image data held by tasks under way

Pixels = np.ndarray[Any, np.dtype[Any]]
Loaded = tuple[Item, Pixels] | Skipped
"""An item without its data, and its pixels as a hasher takes them; or the reason why there are none."""


def map_ahead(
    executor: Executor, work: Callable[..., Any], tasks: Iterable[Any], *args: Any, ahead: int
) -> Iterator[Any]:
    """Yield ``work(task, *args)`` for every task, in order.

    At most `ahead` tasks are under way, holding at most `MAX_BYTES` of image data; there is always at least one.
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


def load_item(item: Item | Skipped, root: bytes, preprocess: Callable[[Image.Image], Pixels]) -> Loaded:
    """Decode and preprocess one item of a source; on any error, skip it with the reason."""
    if isinstance(item, Skipped):
        return item
    if len(item.path) > MAX_PATH:
        return Skipped(item.path, f"path too long: {len(item.path):,} bytes, at most {MAX_PATH:,} are allowed")
    try:
        pixels = decode.prepare(root, item, preprocess)
    except ImageError as error:
        return Skipped(item.path, str(error))
    return Item(item.path, item.labels, None, item.size, item.mtime), pixels


def load(
    source: ImageSource, preprocess: Callable[[Image.Image], Pixels], workers: int | None = None
) -> Iterator[Loaded]:
    """Decode and preprocess the images of a source in threads; yield them in order."""
    workers = workers or min(8, os.cpu_count() or 1)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="transhash-load")
    try:
        yield from map_ahead(pool, load_item, source, source.root, preprocess, ahead=4 * workers)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def data_bytes(task: Any) -> int:
    """Return the number of bytes of image data that an item, or a list of items, holds in memory."""
    if isinstance(task, list):
        return sum(map(data_bytes, task))
    data = getattr(task, "data", None)
    if isinstance(data, bytes):
        return len(data)
    if isinstance(data, Image.Image):
        return 4 * data.width * data.height
    return int(getattr(data, "nbytes", 0))
