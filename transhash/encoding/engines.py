"""Encode the items of a source: in this process, in several, or on a Ray cluster; always in order."""

import os
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from typing import Any

from ..errors import ModelError
from ..hashers.base import Hasher
from ..sources.base import Item, Skipped
from ..sources.lookahead import chunks, load_item, map_ahead
from ..system.child_process import signals_blocked
from . import worker
from .batch import EncodedBatch, encode_prepared

BATCH_SIZE = 32
MAX_BATCH = 4096  # images, or processes
ENGINES = ("local", "ray")
_AHEAD = 3  # batches in progress per process


def encode_batches(
    items: Iterator[Item | Skipped],
    root: bytes,
    hasher: Hasher,
    batch_size: int = BATCH_SIZE,
    *,
    embeddings: bool = False,
    processes: int | None = 1,
    engine: str = "local",
) -> "Generator[EncodedBatch]":
    """Encode items in order, `batch_size` at a time.

    Args:
        items: the images; a bounded number of them is read ahead of the results.
        root: the folder that their paths start from.
        hasher: encodes them; for several processes, `load_hasher` must be able to load it by its name.
        batch_size: images that the hasher sees at once.
        embeddings: whether to return the hasher's embeddings beside the codes.
        processes: number of encoding processes, each on a GPU if available; None for one per GPU or, on a Ray cluster
            without GPUs, one per four cores.
        engine: ``local`` for this machine, ``ray`` for a Ray cluster (`ray_cluster`).

    Raises ModelError if a process dies, ClusterError if the cluster cannot be used.
    """
    if engine == "ray":
        return _on_ray(items, root, hasher, batch_size, embeddings, processes)
    processes = processes or _gpus(hasher) or 1
    if processes == 1:
        return _in_this_process(items, root, hasher, batch_size, embeddings)
    return _in_processes(items, root, hasher, batch_size, embeddings, processes)


def _on_ray(
    items: Iterator[Item | Skipped],
    root: bytes,
    hasher: Hasher,
    batch_size: int,
    embeddings: bool,
    processes: int | None,
) -> "Generator[EncodedBatch]":
    from .ray_cluster import ray_pool

    with ray_pool(hasher, processes) as pool:
        tasks = chunks(items, batch_size)
        ahead = _AHEAD * pool.size
        yield from map_ahead(pool.threads, pool.encode, tasks, os.path.abspath(root), embeddings, ahead=ahead)


def _in_this_process(
    items: Iterator[Item | Skipped], root: bytes, hasher: Hasher, batch_size: int, embeddings: bool
) -> "Generator[EncodedBatch]":
    threads = _threads(1)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="transhash-load")
    try:
        prepared = map_ahead(pool, load_item, items, root, hasher.preprocess, ahead=4 * threads + batch_size)
        while batch := list(islice(prepared, batch_size)):
            yield encode_prepared(batch, hasher, embeddings)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _in_processes(
    items: Iterator[Item | Skipped], root: bytes, hasher: Hasher, batch_size: int, embeddings: bool, processes: int
) -> "Generator[EncodedBatch]":
    context = get_context("spawn")
    network = hasattr(hasher, "device")
    ref, bf16 = hasher.ref, getattr(hasher, "bf16", False)
    setup = (ref.name, ref.bits, bf16, network, _threads(processes), context.Value("i", 0))
    with _Pool(processes, context, worker.start, setup) as pool:
        try:
            tasks = chunks(items, batch_size)
            yield from map_ahead(pool, worker.encode_chunk, tasks, root, embeddings, ahead=_AHEAD * processes)
        except BrokenProcessPool:
            raise ModelError(
                f"one of {processes} encoding processes died; use fewer --processes (processes=)"
            ) from None
        finally:
            pool.kill()


class _Pool(ProcessPoolExecutor):
    """A pool that blocks signals while it starts a process, until the process ignores them (`worker.start`)."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Submit a task; this may start a process."""
        with signals_blocked():
            return super().submit(fn, *args, **kwargs)

    def kill(self) -> None:
        """Kill the processes at once, because nobody waits for their results."""
        for process in list((self._processes or {}).values()):
            process.kill()
        self.shutdown(wait=False, cancel_futures=True)


def _gpus(hasher: Hasher) -> int:
    """Return how many GPUs a hasher can use."""
    device = getattr(hasher, "device", None)
    if device is None or device.type != "cuda":
        return 0
    import torch

    return torch.cuda.device_count()


def _threads(processes: int) -> int:
    return max(1, min(8, (os.cpu_count() or 1) // processes))
