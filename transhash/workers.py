"""Images to codes, batch by batch: decoded in threads while the hasher works, or all of it in several processes."""

import os
import signal
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import images
from .errors import ImageError, ModelError
from .hashers import load_hasher
from .hashers.base import EmbeddingHasher, Hasher
from .sources.base import Item, Skipped

BATCH_SIZE = 32
_HELD = 1 << 28  # bytes of images that are taken ahead, if there are several


@dataclass(frozen=True)
class Batch:
    """Some consecutive items of a source: their codes, or why they have none.

    Attributes:
        codes: (n, bits/8) uint8; row i is the code of `items[i]`.
        items: the n images that were read, without their data.
        skipped: those that could not be.
        embeddings: (n, d) float16 of unit length, if they were asked for.
    """

    codes: NDArray[np.uint8]
    items: list[Item]
    skipped: list[Skipped]
    embeddings: NDArray[np.float16] | None = None


def encode(
    items: Iterator[Item | Skipped],
    root: bytes,
    hasher: Hasher,
    batch_size: int = BATCH_SIZE,
    *,
    embeddings: bool = False,
    processes: int = 1,
) -> Iterator[Batch]:
    """Encode the items of a source in order, `batch_size` at a time.

    Args:
        items: the images, of which some thousands at most are taken ahead.
        root: the folder that their paths start from.
        hasher: encodes them; with several processes it must be one that `load_hasher` finds by its name.
        batch_size: images that the hasher sees at once.
        embeddings: return the hasher's embeddings beside the codes.
        processes: how many encode; each takes a GPU of its own if there are some.

    Raises ModelError if a process dies.
    """
    if processes == 1:
        with ThreadPoolExecutor(_threads(1), thread_name_prefix="transhash-load") as pool:
            loaded = _ahead(pool, items, 4 * _threads(1) + batch_size, _read, root, hasher)
            while batch := list(islice(loaded, batch_size)):
                yield _encoded(batch, hasher, embeddings)
        return
    context = get_context("spawn")
    number = context.Value("i", 0)
    given = (hasher.ref.name, getattr(hasher, "bf16", False), _threads(processes), number)
    with ProcessPoolExecutor(processes, context, _begin, given) as pool:
        try:
            yield from _ahead(pool, _chunks(items, batch_size), 3 * processes, _encode_chunk, root, embeddings)
        except BrokenProcessPool:
            raise ModelError(f"one of {processes} encoding processes died; give fewer --processes") from None


def devices(hasher: Hasher) -> int:
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


def _read(item: Item | Skipped, root: bytes, hasher: Hasher) -> tuple[Item, NDArray[Any]] | Skipped:
    if isinstance(item, Skipped):
        return item
    try:
        pixels = hasher.preprocess(images.open_item(root, item))
    except ImageError as error:
        return Skipped(item.path, str(error))
    return Item(item.path, item.labels, None, item.size, item.mtime), pixels


def _encoded(batch: list[tuple[Item, NDArray[Any]] | Skipped], hasher: Hasher, embeddings: bool) -> Batch:
    skipped = [item for item in batch if isinstance(item, Skipped)]
    read = [item for item in batch if not isinstance(item, Skipped)]
    width = hasher.ref.bits // 8
    if not read:
        return Batch(np.empty((0, width), dtype=np.uint8), [], skipped)
    stack = np.stack([pixels for _, pixels in read])
    vectors = None
    if not embeddings:
        codes = hasher.encode(stack)
    elif isinstance(hasher, EmbeddingHasher):
        codes, vectors = hasher.encode_both(stack)
    else:
        raise ModelError(f"{hasher.ref.name} has no embeddings; leave out --embeddings")
    assert codes.shape == (len(read), width), "a hasher must return one code per image"
    return Batch(codes, [item for item, _ in read], skipped, vectors)


def _threads(processes: int) -> int:
    return max(1, min(8, (os.cpu_count() or 1) // processes))


_PROCESS: dict[str, Any] = {}  # what a process of the pool keeps between chunks


def _begin(model: str, bf16: bool, threads: int, number: Any) -> None:
    """Set up a process of the pool: the hasher, on the next GPU if there are some, and threads to decode."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the run
    with number.get_lock():
        place = number.value
        number.value += 1
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.cuda.set_device(place % torch.cuda.device_count())
    _PROCESS["hasher"] = load_hasher(model, bf16=bf16)
    _PROCESS["pool"] = ThreadPoolExecutor(threads)


def _encode_chunk(chunk: list[Item | Skipped], root: bytes, embeddings: bool) -> Batch:
    hasher = _PROCESS["hasher"]
    read = _PROCESS["pool"].map(lambda item: _read(item, root, hasher), chunk)
    return _encoded(list(read), hasher, embeddings)
