"""Metrics of the service, as Prometheus reads them."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ..engine import Engine
from ..monitor import Monitor

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics(Monitor):
    """The metrics of one server."""

    def __init__(self) -> None:
        """Start at zero."""
        self._registry = CollectorRegistry()
        self._stages = Histogram(
            "transhash_stage_seconds", "Time of a stage.", ["stage"], registry=self._registry, buckets=_SECONDS
        )
        self._batches = Histogram(
            "transhash_batch_size",
            "Queries answered together.",
            ["stage"],
            registry=self._registry,
            buckets=_SIZES,
        )
        self._requests = Histogram(
            "transhash_request_seconds", "Time of a request.", ["route"], registry=self._registry, buckets=_SECONDS
        )
        self._answers = Counter(
            "transhash_responses", "Responses by route and status.", ["route", "status"], registry=self._registry
        )
        self._waiting = Gauge(
            "transhash_queue_length", "Queries that wait.", ["stage", "index"], registry=self._registry
        )
        self._images = Gauge("transhash_index_images", "Images of an index.", ["index"], registry=self._registry)
        self._stale = Gauge(
            "transhash_index_stale",
            "1 if a newer version of the index on disk cannot be served.",
            ["index"],
            registry=self._registry,
        )

    def stage(self, name: str, seconds: float) -> None:
        """Count the time of a stage."""
        self._stages.labels(name).observe(seconds)

    def batch(self, name: str, size: int) -> None:
        """Count a batch."""
        self._batches.labels(name).observe(size)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route).observe(seconds)
        self._answers.labels(route, str(status)).inc()

    def text(self, engine: Engine) -> bytes:
        """Return all metrics as text."""
        for name, served in engine.indexes.items():
            self._waiting.labels("scan", name).set(len(served.queue))
            self._waiting.labels("encode", name).set(len(engine.encoder(served.snapshot.model).queue))
            self._images.labels(name).set(len(served.snapshot))
            self._stale.labels(name).set(bool(served.fault))
        return generate_latest(self._registry)
