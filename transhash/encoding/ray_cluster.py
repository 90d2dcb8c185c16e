"""Encode on a Ray cluster: each worker is a Ray actor with a hasher, and one local thread waits for it.

Workers for which Ray has no resources yet join later. If a worker is lost, perhaps with its machine, it is replaced,
and another worker encodes its images. Ray's own restarts would wait for a machine that may never come back.
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

from ..codes import ModelRef
from ..codes.arithmetic import is_fast
from ..errors import ClusterError, TransHashError, one_line
from ..hashers import load_hasher
from ..hashers.base import Hasher
from ..sources.base import Item, Skipped
from ..system.files import display
from .batch import BatchEncoder, EncodedBatch

_CORES = 4  # cores per worker if there are no GPUs and no number of workers is given
_GPU_UNITS = 10_000  # Ray counts GPUs in units of 1/10,000
_TRIES = 3  # attempts to encode the same images, or to start a worker
_PATIENCE = 600.0  # seconds to wait for a worker while nothing else happens
_CONNECT = 10.0  # seconds


@contextmanager
def ray_pool(hasher: Hasher, size: int | None = None) -> Iterator["RayPool"]:
    """Start workers on the cluster that Ray is connected to, the one that RAY_ADDRESS names, or this machine.

    Args:
        hasher: `load_hasher` must be able to load it by its name on every machine of the cluster.
        size: number of workers; by default one per GPU or, without GPUs, one per four cores.

    Raises ClusterError if Ray is not installed, or the cluster cannot be reached.
    """
    if find_spec("ray") is None:
        raise ClusterError("Ray is not installed; install it with: pip install 'transhash[ray]'")
    import ray

    ours = not ray.is_initialized()
    if ours:
        _connect()
    try:
        with _cluster_errors():
            machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            pool = RayPool(hasher, *plan_workers(machines, size, network=hasattr(hasher, "device")))
        with pool:
            yield pool
    finally:
        if ours:
            ray.shutdown()


class RayPool:
    """Workers on a Ray cluster with the same hasher.

    Attributes:
        size: number of workers, once all have started.
        threads: one thread per worker, to call `encode` in.
    """

    def __init__(self, hasher: Hasher, size: int, cores: int, gpus: float) -> None:
        """Ask Ray for `size` workers with `cores` cores and `gpus` GPUs each."""
        import ray

        self.size = size
        self.threads = ThreadPoolExecutor(size, thread_name_prefix="transhash-ray")
        self._make: Any = ray.remote(_Worker).options(num_cpus=cores, num_gpus=gpus, max_restarts=0)
        self._setup = (hasher.ref, getattr(hasher, "bf16", False), cores)
        self._requirements = f"{cores} cores" + (f" and {gpus:g} GPU" if gpus else "")
        self._idle: SimpleQueue[_Ready] = SimpleQueue()
        self._workers: set[Any] = set()
        self._closed = False
        self._last_activity = time.monotonic()
        for _ in range(size):
            self._start_worker()

    def __enter__(self) -> "RayPool":
        """Return the pool; its workers end with the block."""
        return self

    def __exit__(self, *about: object) -> None:
        """End the workers, and the threads that wait for them."""
        self._closed = True
        self._idle.put(_Ready(None, 0, ClusterError("ended")))
        for worker in list(self._workers):
            self._stop_worker(worker)
        self.threads.shutdown(cancel_futures=True)

    def encode(self, chunk: Sequence[Item | Skipped], root: bytes, embeddings: bool) -> EncodedBatch:
        """Encode items on a worker, and on another one if it is lost.

        Raises ClusterError if several workers are lost or none can be started, and what the worker raised.
        """
        with _cluster_errors():
            return self._encode(chunk, root, embeddings)

    def _encode(self, chunk: Sequence[Item | Skipped], root: bytes, embeddings: bool) -> EncodedBatch:
        import ray
        from ray.exceptions import RayError

        for _ in range(_TRIES):
            worker = self._next()
            try:
                batch: EncodedBatch = ray.get(worker.encode.remote(chunk, root, embeddings))
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
            f"{_TRIES} workers died, one after the other, on {first!r} and the {len(chunk) - 1} images after it, "
            "perhaps out of memory; use a smaller --batch-size (batch_size=) or fewer --processes (processes=)"
        )

    def _next(self) -> Any:
        """Wait for an idle worker."""
        while True:
            try:
                ready = self._idle.get(timeout=_PATIENCE)
            except Empty:
                if time.monotonic() - self._last_activity < _PATIENCE:
                    continue
                raise ClusterError(
                    f"the cluster had no room for a worker of {self._requirements} in {_PATIENCE / 60:.0f} minutes; "
                    "see: ray status"
                ) from None
            if ready.error is None:
                return ready.worker
            if _is_lost(ready.error) and ready.tries > 1:
                self._stop_worker(ready.worker)
                self._start_worker(ready.tries - 1)
            else:
                self._idle.put(ready)  # for the other threads, which must end, too
                raise _one_line(ready.error)

    def _start_worker(self, tries: int = _TRIES) -> None:
        """Request a worker; it becomes idle once it has loaded its hasher."""
        if not self._closed:
            worker = self._make.remote(*self._setup)
            self._workers.add(worker)
            worker.load.remote().future().add_done_callback(partial(self._on_loaded, worker, tries))

    def _on_loaded(self, worker: Any, tries: int, loaded: Future[None]) -> None:
        """Make a worker idle, or store the error of its start. Ray calls this in a thread that must not block."""
        self._last_activity = time.monotonic()
        self._idle.put(_Ready(worker, tries, loaded.exception()))

    def _stop_worker(self, worker: Any) -> None:
        import ray

        self._workers.discard(worker)
        with suppress(Exception):  # worker and cluster may be gone
            ray.kill(worker)


@dataclass(frozen=True)
class _Ready:
    """An idle worker, or the error of its start and the number of remaining attempts."""

    worker: Any
    tries: int = 0
    error: BaseException | None = None


class _Worker:
    """The Ray actor."""

    def __init__(self, model: ModelRef, bf16: bool, threads: int) -> None:
        self._model = model
        self._bf16 = bf16
        self._threads = max(1, threads)
        self._encoder: BatchEncoder | None = None

    def load(self) -> None:
        """Load the hasher. Raises ClusterError if it cannot be loaded, or is not the hasher of this run."""
        where = socket.gethostname()
        try:
            hasher = load_hasher(self._model.name, bf16=self._bf16, fast=is_fast(self._model), bits=self._model.bits)
        except TransHashError as error:
            raise ClusterError(f"on {where}: {error}") from None
        if hasher.ref.digest != self._model.digest:
            name = self._model.name
            raise ClusterError(f"on {where}: {name} is not the same hasher as where the run started; copy it there")
        if hasattr(hasher, "device"):
            import torch

            torch.set_num_threads(self._threads)
        self._encoder = BatchEncoder(hasher, self._threads)

    def encode(self, chunk: Sequence[Item | Skipped], root: bytes, embeddings: bool) -> EncodedBatch:
        """Encode items."""
        assert self._encoder, "load() comes first"
        return self._encoder.encode(chunk, root, embeddings)


def _connect() -> None:
    """Connect to the cluster that RAY_ADDRESS names, or start one on this machine. Raises ClusterError."""
    import ray

    address = os.environ.get("RAY_ADDRESS", "")
    place = urlsplit(address if "//" in address else f"//{address}")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if ":" in address:  # Ray would retry for minutes and log a lot
            with suppress(ValueError), socket.create_connection((place.hostname or "", place.port or 0), _CONNECT):
                pass
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises bare Exceptions, too
        where = f"the cluster at RAY_ADDRESS={address}" if address else "a cluster on this machine"
        hint = (
            "; if it asks for a token: RAY_AUTH_MODE=token" if address and "RAY_AUTH_MODE" not in os.environ else ""
        )
        raise ClusterError(f"{where} cannot be reached ({one_line(error)}){hint}") from None
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray has replaced it


def plan_workers(machines: Sequence[dict[str, float]], size: int | None, *, network: bool) -> tuple[int, int, float]:
    """Return the number of workers, and the cores and GPUs of each, so that all can run at once if possible.

    Args:
        machines: the resources of each machine under Ray's names, "CPU" and "GPU".
        size: the number of workers, if it is fixed.
        network: whether a worker can use a GPU.
    """
    with_gpus = [machine for machine in machines if machine.get("GPU")]
    if network and with_gpus:
        gpus = int(sum(machine["GPU"] for machine in with_gpus))
        size = size or gpus
        each = math.ceil(size / gpus)
        cores = min(int(machine.get("CPU", 0) / machine["GPU"] / each) for machine in with_gpus)
        return size, cores, _GPU_UNITS // each / _GPU_UNITS
    counts = [int(machine.get("CPU", 0)) for machine in machines]
    size = size or max(1, sum(count // _CORES for count in counts))
    fitting = (cores for cores in range(1, max(counts) + 1) if sum(count // cores for count in counts) >= size)
    return size, max(fitting, default=1), 0.0


@contextmanager
def _cluster_errors() -> Iterator[None]:
    """Convert all errors of Ray, including bare Exceptions, to ClusterError."""
    try:
        yield
    except TransHashError:
        raise
    except Exception as error:
        raise ClusterError(f"the Ray cluster failed: {one_line(error)}; the same command resumes") from error


def _is_lost(error: BaseException) -> bool:
    """Return whether a worker has died, rather than raised an error."""
    from ray.exceptions import RayError, RayTaskError

    return isinstance(error, RayError) and not isinstance(error, RayTaskError)


def _one_line(error: BaseException) -> Exception:
    """Return an error of a worker as one with a one-line message."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, TransHashError):
        return cause
    lines = str(cause or error).strip().splitlines()
    return ClusterError(f"a worker failed: {lines[-1] if lines else type(error).__name__}")
