"""One encoding process of several. Light to import: what must happen first happens before numpy and torch load."""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from multiprocessing import parent_process
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..sources.base import Item, Skipped
    from .batch import BatchEncoder, EncodedBatch

_PR_SET_PDEATHSIG = 1
_STATE: dict[str, "BatchEncoder"] = {}  # kept between chunks


def start(model: str, bf16: bool, network: bool, threads: int, counter: Any) -> None:
    """Set up this process: load the hasher, on the next GPU if there are any.

    Args:
        model: name or path of the hasher.
        bf16: whether it computes in bfloat16.
        network: whether it runs on torch.
        threads: threads that decode, and that torch computes with.
        counter: a shared integer, by which the processes take turns at the GPUs.
    """
    _leave_signals_to_parent()
    _end_with_parent()

    from ..hashers import load_hasher
    from .batch import BatchEncoder

    with counter.get_lock():
        place = counter.value
        counter.value += 1
    if network:
        import torch

        torch.set_num_threads(threads)
        if torch.cuda.is_available():
            torch.cuda.set_device(place % torch.cuda.device_count())
    _STATE["encoder"] = BatchEncoder(load_hasher(model, bf16=bf16), threads)


def encode_chunk(chunk: "Sequence[Item | Skipped]", root: bytes, embeddings: bool) -> "EncodedBatch":
    """Encode items with the hasher of this process."""
    return _STATE["encoder"].encode(chunk, root, embeddings)


def _leave_signals_to_parent() -> None:
    """Ignore SIGINT and SIGTERM, which terminals and services send to every process: the parent ends the run."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):  # the parent blocked them while it started this process
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def _end_with_parent() -> None:
    """End this process as soon as its parent has ended, even by kill -9; it would wait for work for ever."""
    parent = parent_process()
    if parent is None:
        return
    if sys.platform == "linux":  # at once, even while a library is being loaded
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent.pid:
            os._exit(1)

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
