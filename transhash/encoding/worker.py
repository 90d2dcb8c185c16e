"""The code of an encoding process. It loads neither numpy nor torch before `start` handles signals."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..system.child_process import end_with_parent, leave_signals_to_parent

if TYPE_CHECKING:
    from ..sources.base import Item, Skipped
    from .batch import BatchEncoder, EncodedBatch

_STATE: dict[str, "BatchEncoder"] = {}  # kept between chunks


def start(model: str, bits: int, bf16: bool, fast: bool, network: bool, threads: int, counter: Any) -> None:
    """Set up this process: load the hasher, on the next GPU if there are any.

    Args:
        model: name or path of the hasher.
        bits: length of its codes.
        bf16: whether it computes in bfloat16.
        fast: whether it computes with 8-bit integers.
        network: whether it runs on torch.
        threads: threads that decode, and that the hasher computes with.
        counter: a shared integer that distributes the processes over the GPUs.
    """
    leave_signals_to_parent()
    end_with_parent()

    if fast:
        os.environ["OMP_NUM_THREADS"] = str(threads)

    from ..hashers import load_hasher
    from .batch import BatchEncoder

    with counter.get_lock():
        number = counter.value
        counter.value += 1
    if network:
        import torch

        torch.set_num_threads(threads)
        if torch.cuda.is_available():
            torch.cuda.set_device(number % torch.cuda.device_count())
    _STATE["encoder"] = BatchEncoder(load_hasher(model, bf16=bf16, fast=fast, bits=bits), threads)


def encode_chunk(chunk: "Sequence[Item | Skipped]", root: bytes, embeddings: bool) -> "EncodedBatch":
    """Encode items with the hasher of this process."""
    return _STATE["encoder"].encode(chunk, root, embeddings)
