"""Encoding on a Ray cluster: a worker (an actor of Ray's) holds a hasher, and one thread here waits for each.

Workers that Ray finds no room for yet join when it does. One that is lost, with its machine perhaps, is replaced, and
what it was at goes to another. Ray's own restarts would keep that waiting for a machine that never comes back.
"""

import logging
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from ..errors import ClusterError, TransHashError, one_line
from ..files import display
from ..hashers import load_hasher
from ..hashers.base import Hasher
from ..sources.base import Item, Skipped
from .batch import Batch, Encoder

_CORES = 4  # of a worker, if there are no GPUs and nobody says how many workers
_PART = 10_000  # the smallest part of a GPU that Ray counts
_TRIES = 3  # workers that are given the same images, or asked for in place of one
_PATIENCE = 600.0  # seconds without a worker, or any news
_CONNECT = 10.0  # seconds


@contextmanager
def crew(hasher: Hasher, number: int | None = None) -> Iterator["RayPool"]:
    """Have a hasher on a Ray cluster: the one that Ray is connected to, that RAY_ADDRESS names, or this machine.

    Args:
        hasher: one that `load_hasher` finds by its name, on every machine of the cluster.
        number: of workers; if not given one for each GPU, or for every four cores where there are none.

    Raises ClusterError if Ray is not installed, or the cluster cannot be reached.
    """
    if find_spec("ray") is None:
        raise ClusterError("Ray is not installed; get it with: pip install 'transhash[ray]'")
    import ray

    ours = not ray.is_initialized()
    if ours:
        _connect()
    try:
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        with RayPool(hasher, *shares(machines, number, network=hasattr(hasher, "device"))) as workers:
            yield workers
    finally:
        if ours:
            ray.shutdown()


class RayPool:
    """Workers that encode the same way.

    Attributes:
        number: of workers, when all are there.
        threads: one for each worker, to call `encode` in.
    """

    def __init__(self, hasher: Hasher, number: int, cores: int, gpus: float) -> None:
        """Ask Ray for `number` workers of so many cores and GPUs."""
        import ray

        self.number = number
        self.threads = ThreadPoolExecutor(number, thread_name_prefix="transhash-ray")
        self._make: Any = ray.remote(_Worker).options(num_cpus=cores, num_gpus=gpus, max_restarts=0)
        self._given = (hasher.ref.name, hasher.ref.digest, getattr(hasher, "bf16", False), cores)
        self._requirements = f"{cores} cores" + (f" and {gpus:g} GPU" if gpus else "")
        self._idle: SimpleQueue[_Ready] = SimpleQueue()
        self._workers: set[Any] = set()
        self._closed = False
        self._last_activity = time.monotonic()
        for _ in range(number):
            self._start_worker()

    def __enter__(self) -> "RayPool":
        """Return the crew; its workers end with the block."""
        return self

    def __exit__(self, *about: object) -> None:
        """End the workers, and the threads that wait for them."""
        self._closed = True
        self._idle.put(_Ready(None, 0, ClusterError("ended")))
        for worker in list(self._workers):
            self._stop_worker(worker)
        self.threads.shutdown(cancel_futures=True)

    def encode(self, chunk: Sequence[Item | Skipped], root: bytes, embeddings: bool) -> Batch:
        """Have a worker encode some items, another one if that is lost.

        Raises ClusterError if that is lost, too, and so on, or there is none; else whatever the worker raised.
        """
        import ray
        from ray.exceptions import RayError

        for _ in range(_TRIES):
            worker = self._next()
            try:
                batch: Batch = ray.get(worker.encode.remote(chunk, root, embeddings))
            except RayError as error:
                if not _is_lost(error):
                    raise _one_line(error) from None
                self._stop_worker(worker)
                self._start_worker()
                continue
            self._last_activity = time.monotonic()
            self._idle.put(_Ready(worker))
            return batch
        first = display(chunk[0].path)
        raise ClusterError(
            f"{_TRIES} workers ended, one after the other, over {first!r} and the {len(chunk) - 1} images behind it: "
            "out of memory? try a smaller --batch-size, or fewer --processes"
        )

    def _next(self) -> Any:
        """Wait for a worker that has nothing to do."""
        while True:
            try:
                found = self._idle.get(timeout=_PATIENCE)
            except Empty:
                if time.monotonic() - self._last_activity < _PATIENCE:
                    continue
                raise ClusterError(
                    f"the cluster had no room for a worker of {self._requirements} in {_PATIENCE / 60:.0f} minutes; "
                    "see: ray status"
                ) from None
            if found.error is None:
                return found.worker
            if _is_lost(found.error) and found.tries > 1:
                self._stop_worker(found.worker)
                self._start_worker(found.tries - 1)
            else:
                self._idle.put(found)  # the other threads are to end, too
                raise _one_line(found.error)

    def _start_worker(self, tries: int = _TRIES) -> None:
        """Ask for a worker; it is idle once it has loaded its hasher."""
        if not self._closed:
            worker = self._make.remote(*self._given)
            self._workers.add(worker)
            worker.load.remote().future().add_done_callback(partial(self._arrived, worker, tries))

    def _arrived(self, worker: Any, tries: int, loaded: Future[None]) -> None:
        """Take a worker up, or note why it cannot be. Ray calls this in a thread that must not wait."""
        self._last_activity = time.monotonic()
        self._idle.put(_Ready(worker, tries, loaded.exception()))

    def _stop_worker(self, worker: Any) -> None:
        import ray

        self._workers.discard(worker)
        with suppress(Exception):  # it may be gone, and the cluster, too
            ray.kill(worker)


@dataclass(frozen=True)
class _Ready:
    """A worker that waits for work, or what came of loading it, and how often to try again."""

    worker: Any
    tries: int = 0
    error: BaseException | None = None


class _Worker:
    """What runs on the cluster."""

    def __init__(self, model: str, digest: str, bf16: bool, threads: int) -> None:
        self._model = model
        self._digest = digest
        self._bf16 = bf16
        self._threads = max(1, threads)
        self._encoder: Encoder | None = None

    def load(self) -> None:
        """Load the hasher. Raises TransHashError if it is not the one that the run began with."""
        where = socket.gethostname()
        try:
            hasher = load_hasher(self._model, bf16=self._bf16)
        except TransHashError as error:
            raise ClusterError(f"on {where}: {error}") from None
        if hasher.ref.digest != self._digest:
            raise ClusterError(f"on {where}: {self._model} is another hasher than here; copy it to every machine")
        if hasattr(hasher, "device"):
            import torch

            torch.set_num_threads(self._threads)
        self._encoder = Encoder(hasher, self._threads)

    def encode(self, chunk: Sequence[Item | Skipped], root: bytes, embeddings: bool) -> Batch:
        """Encode some items."""
        assert self._encoder, "a worker is given nothing before it has loaded"
        return self._encoder.encode(chunk, root, embeddings)


def _connect() -> None:
    """Connect to the cluster that RAY_ADDRESS names, or start one on this machine. Raises ClusterError."""
    import ray

    address = os.environ.get("RAY_ADDRESS", "")
    place = urlsplit(address if "//" in address else f"//{address}")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if ":" in address:  # Ray itself tries for minutes, and says much
            with suppress(ValueError), socket.create_connection((place.hostname or "", place.port or 0), _CONNECT):
                pass
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        where = f"the cluster at RAY_ADDRESS={address}" if address else "a cluster on this machine"
        hint = (
            "; if it asks for a token: RAY_AUTH_MODE=token" if address and "RAY_AUTH_MODE" not in os.environ else ""
        )
        raise ClusterError(f"{where} cannot be reached ({one_line(error)}){hint}") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray puts its own there


def shares(machines: Sequence[dict[str, float]], number: int | None, *, network: bool) -> tuple[int, int, float]:
    """Return how many workers there are to be, and the cores and GPUs of each, so that all find room if they can.

    Args:
        machines: what each has, as Ray names it: "CPU", "GPU".
        number: of workers, if that is decided.
        network: whether a worker has use for a GPU.
    """
    with_gpus = [machine for machine in machines if machine.get("GPU")]
    if network and with_gpus:
        gpus = int(sum(machine["GPU"] for machine in with_gpus))
        number = number or gpus
        each = math.ceil(number / gpus)
        cores = min(int(machine.get("CPU", 0) / machine["GPU"] / each) for machine in with_gpus)
        return number, cores, _PART // each / _PART
    counts = [int(machine.get("CPU", 0)) for machine in machines]
    number = number or max(1, sum(count // _CORES for count in counts))
    fitting = (cores for cores in range(1, max(counts) + 1) if sum(count // cores for count in counts) >= number)
    return number, max(fitting, default=1), 0.0


def _is_lost(error: BaseException) -> bool:
    """Say whether a worker has ended, and not just raised something."""
    from ray.exceptions import RayError, RayTaskError

    return isinstance(error, RayError) and not isinstance(error, RayTaskError)


def _one_line(error: BaseException) -> Exception:
    """Return what to tell of an error that came from a worker."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, TransHashError):
        return cause
    lines = str(cause or error).strip().splitlines()
    return ClusterError(f"a worker failed: {lines[-1] if lines else type(error).__name__}")
