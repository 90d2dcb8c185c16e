"""Turn images into codes for queries: decoded in a few threads, hashed together in one."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codes import ModelRef, check_query_model
from ..errors import ImageError, ModelError
from ..hashers import check_stored, load_hasher, names
from ..hashers.base import Hasher, OutputHasher
from ..packing import pack
from ..sources import decode
from ..sources.base import Item
from ..system.files import display
from .batching import Batcher, BoundedPool
from .monitor import Monitor

MAX_BYTES = 1 << 25  # largest image file
_WAITING = 256  # images that wait to be decoded

Pixels = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, eq=False)
class Encoded:
    """The code of an image, (bits/8,) uint8, and the outputs behind it, (bits,), if they were asked for."""

    packed: NDArray[np.uint8]
    outputs: NDArray[np.float32] | None


@dataclass(frozen=True, eq=False)
class _Prepared:
    pixels: Pixels
    outputs: bool


class QueryEncoder:
    """Encodes images with one hasher, which is loaded when it is first needed."""

    def __init__(
        self, model: str | Path, pool: BoundedPool, monitor: Monitor, stored: bool = False, fast: bool = False
    ) -> None:
        """Take the name or the file of a hasher, the number of decoding threads, and how to load it.

        `stored` says whether an index stored the name, `fast` whether to compute with 8-bit integers.
        """
        self._name = model
        self._stored = stored
        self._fast = fast
        self._pool = pool
        self._monitor = monitor
        self._lock = threading.Lock()
        self._hasher: Hasher | None = None
        self.queue: Batcher[_Prepared, Encoded] = Batcher("encode", self._encode, monitor)

    @property
    def hasher(self) -> Hasher:
        """The hasher. Raises ModelError if it is not there."""
        with self._lock:
            if self._hasher is None:
                try:
                    if self._stored:
                        check_stored(str(self._name))
                    self._hasher = load_hasher(self._name, fast=self._fast)
                except ModelError as error:
                    if Path(self._name).exists() or str(self._name) in names():
                        raise
                    hint = "the index's hasher was not found; start the server with its file: --model FILE"
                    raise ModelError(f"{display(str(self._name))}: {hint}") from error
            return self._hasher

    def encode(self, image: bytes, model: ModelRef, outputs: bool = False) -> "Future[Encoded]":
        """Return the code of an image file that is in memory, for an index of `model`.

        Raises, here or as the future's error, BusyError if too many images are waiting; ModelError if the hasher is
        missing or has no outputs; MismatchError if it is not that of the index; ImageError if the image cannot be
        read.
        """
        if len(image) > MAX_BYTES:
            raise ImageError(f"{len(image):,} bytes: an image may have at most {MAX_BYTES:,}")
        answer: Future[Encoded] = Future()

        def decoded(done: "Future[Pixels]") -> None:
            try:
                coming = self.queue.submit(_Prepared(done.result(), outputs))
            except BaseException as error:
                _fail(answer, error)
            else:
                coming.add_done_callback(encoded)

        def encoded(done: "Future[Encoded]") -> None:
            try:
                found = done.result()
            except BaseException as error:
                _fail(answer, error)
            else:
                if answer.set_running_or_notify_cancel():
                    bits = model.bits
                    values = None if found.outputs is None else found.outputs[:bits]
                    answer.set_result(Encoded(found.packed[: bits // 8], values))

        self._pool.submit(self._prepare, image, model, outputs).add_done_callback(decoded)
        return answer

    def close(self) -> None:
        """Encode the waiting images, and end the thread."""
        self.queue.close()

    def _prepare(self, image: bytes, model: ModelRef, outputs: bool) -> Pixels:
        hasher = self.hasher
        check_query_model(hasher.ref, model, "the index")
        if outputs and not isinstance(hasher, OutputHasher):
            raise ModelError(f"{display(hasher.ref.name)} has no outputs to re-rank by")
        with self._monitor.timed("decode"):
            return decode.prepare(b"", Item(b"", (), image), hasher.preprocess)

    def _encode(self, batch: Sequence[_Prepared]) -> list[Encoded]:
        hasher = self.hasher
        answers: dict[int, Encoded] = {}
        for wanted in (False, True):
            places = [place for place, one in enumerate(batch) if one.outputs is wanted]
            if not places:
                continue
            stack = np.stack([batch[place].pixels for place in places])
            values: Sequence[NDArray[np.float32] | None] = [None] * len(places)
            if wanted:
                assert isinstance(hasher, OutputHasher)
                computed = hasher.outputs(stack)
                codes, values = pack(computed), list(computed)
            else:
                codes = hasher.encode(stack)
            answers.update(zip(places, map(Encoded, codes, values), strict=True))
        return [answers[place] for place in range(len(batch))]


def _fail(answer: "Future[Encoded]", error: BaseException) -> None:
    if answer.set_running_or_notify_cancel():
        answer.set_exception(error)
