"""Encode the items of a source in several processes of this machine."""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

from ..codes.arithmetic import is_fast
from ..errors import ModelError
from ..hashers.base import Hasher
from ..sources.base import Item, Skipped
from ..sources.lookahead import chunks, map_ahead
from ..system.child_process import signals_blocked
from . import worker
from .batch import EncodedBatch


def encode_in_processes(
    items: Iterator[Item | Skipped],
    root: bytes,
    hasher: Hasher,
    batch_size: int,
    embeddings: bool,
    processes: int,
    threads: int,
    ahead: int,
) -> "Generator[EncodedBatch]":
    """Encode items as `engines.encode_batches` does, `ahead` batches at once; each process decodes in `threads`.

    Raises ModelError if a process dies.
    """
    context = get_context("spawn")
    network = hasattr(hasher, "device")
    ref, bf16 = hasher.ref, getattr(hasher, "bf16", False)
    setup = (ref.name, ref.bits, bf16, is_fast(ref), network, threads, context.Value("i", 0))
    with _Pool(processes, context, worker.start, setup) as pool:
        try:
            tasks = chunks(items, batch_size)
            yield from map_ahead(pool, worker.encode_chunk, tasks, root, embeddings, ahead=ahead)
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
