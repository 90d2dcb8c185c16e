"""Images to codes, batch by batch: in this process, in several, or on a Ray cluster; in order whichever it is."""

import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context, parent_process
from typing import Any

from ..errors import ModelError
from ..hashers import load_hasher
from ..hashers.base import Hasher
from ..sources.base import Item, Skipped
from .batch import Batch, Encoder, encoded, read

BATCH_SIZE = 32
_AHEAD = 3  # batches under way for each process
_HELD = 1 << 28  # bytes of images that are taken ahead, if there are several


def encode(
    items: Iterator[Item | Skipped],
    root: bytes,
    hasher: Hasher,
    batch_size: int = BATCH_SIZE,
    *,
    embeddings: bool = False,
    processes: int | None = 1,
    ray: bool = False,
) -> Iterator[Batch]:
    """Encode the items of a source in order, `batch_size` at a time.

    Args:
        items: the images, of which some thousands at most are taken ahead.
        root: the folder that their paths start from.
        hasher: encodes them; with several processes it must be one that `load_hasher` finds by its name.
        batch_size: images that the hasher sees at once.
        embeddings: return the hasher's embeddings beside the codes.
        processes: how many encode, each on a GPU of its own if there are some; None for as many as suit the machine,
            or the cluster.
        ray: let them run on a Ray cluster (`ray_workers`).

    Raises ModelError if a process dies, ClusterError if the cluster cannot be used.
    """
    if ray:
        from .ray_cluster import crew

        with crew(hasher, processes) as workers:
            chunks = _chunks(items, batch_size)
            yield from _ahead(
                workers.threads, chunks, _AHEAD * workers.number, workers.encode, os.path.abspath(root), embeddings
            )
        return
    processes = processes or _devices(hasher)
    if processes == 1:
        with ThreadPoolExecutor(_threads(1), thread_name_prefix="transhash-load") as pool:
            loaded = _ahead(pool, items, 4 * _threads(1) + batch_size, read, root, hasher)
            while batch := list(islice(loaded, batch_size)):
                yield encoded(batch, hasher, embeddings)
        return
    context = get_context("spawn")
    number = context.Value("i", 0)
    given = (hasher.ref.name, getattr(hasher, "bf16", False), _threads(processes), number)
    with ProcessPoolExecutor(processes, context, _begin, given) as pool:
        try:
            yield from _ahead(pool, _chunks(items, batch_size), _AHEAD * processes, _encode_chunk, root, embeddings)
        except BrokenProcessPool:
            raise ModelError(f"one of {processes} encoding processes died; give fewer --processes") from None


def _devices(hasher: Hasher) -> int:
    """Return how many processes a hasher can use by itself: one for each GPU, or one."""
    device = getattr(hasher, "device", None)
    if device is None or device.type != "cuda":
        return 1
    import torch

    return torch.cuda.device_count()


def _ahead(pool: Executor, given: Iterator[Any], ahead: int, work: Any, *fixed: Any) -> Iterator[Any]:
    """Yield work(item, *fixed) for every item, in order, with a bounded number of them, and bytes, under way."""
    pending: deque[tuple[Future[Any], int]] = deque()
    held = 0
    try:
        for item in given:
            size = _held(item)
            pending.append((pool.submit(work, item, *fixed), size))
            held += size
            while len(pending) > ahead or (held > _HELD and len(pending) > 1):
                done, size = pending.popleft()
                held -= size
                yield done.result()
        while pending:
            yield pending.popleft()[0].result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _chunks(items: Iterator[Item | Skipped], most: int) -> Iterator[list[Item | Skipped]]:
    """Yield items in lists of at most `most`, or of fewer large ones."""
    chunk: list[Item | Skipped] = []
    for item in items:
        chunk.append(item)
        if len(chunk) == most or _held(chunk) > _HELD // 4:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _held(given: Any) -> int:
    """Return how many bytes an item, or a list of items, brings along."""
    if isinstance(given, list):
        return sum(map(_held, given))
    data = getattr(given, "data", None)
    return 0 if data is None else len(data) if isinstance(data, bytes) else int(data.nbytes)


def _threads(processes: int) -> int:
    return max(1, min(8, (os.cpu_count() or 1) // processes))


_PROCESS: dict[str, Encoder] = {}  # what a process of the pool keeps between chunks


def _begin(model: str, bf16: bool, threads: int, number: Any) -> None:
    """Set up a process of the pool: the hasher, on the next GPU if there are some, and threads to decode."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the run
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with number.get_lock():
        place = number.value
        number.value += 1
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.cuda.set_device(place % torch.cuda.device_count())
    _PROCESS["encoder"] = Encoder(load_hasher(model, bf16=bf16), threads)


def _end_with_parent() -> None:
    """End this process once its parent is gone, even by kill -9; otherwise it would wait for work for ever."""
    parent = parent_process()
    if parent:
        parent.join()
        os._exit(1)


def _encode_chunk(chunk: list[Item | Skipped], root: bytes, embeddings: bool) -> Batch:
    return _PROCESS["encoder"].encode(chunk, root, embeddings)
