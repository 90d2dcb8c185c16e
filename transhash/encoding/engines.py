"""Encode the items of a source: in this process, in several, or on a Ray cluster; always in order."""

import os
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from ..hashers.base import Hasher
from ..sources.base import Item, Skipped
from ..sources.lookahead import chunks, load_item, map_ahead
from .batch import EncodedBatch, encode_prepared

BATCH_SIZE = 32
MAX_BATCH = 4096  # images, or processes
ENGINES = ("local", "ray")
_MOST_THREADS = 16  # threads per process; more would wait for the interpreter's lock
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
    from .processes import encode_in_processes

    return encode_in_processes(
        items, root, hasher, batch_size, embeddings, processes, _threads(processes), _AHEAD * processes
    )


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


def _gpus(hasher: Hasher) -> int:
    """Return how many GPUs a hasher can use."""
    device = getattr(hasher, "device", None)
    if device is None or device.type != "cuda":
        return 0
    import torch

    return torch.cuda.device_count()


def _threads(processes: int) -> int:
    return max(1, min(_MOST_THREADS, (os.cpu_count() or 1) // processes))
