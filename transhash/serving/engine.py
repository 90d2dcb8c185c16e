"""The engine of the service: indexes by name, and queries that are answered together. It does not depend on HTTP."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ..codes import ModelRef
from ..codes.arithmetic import is_fast
from ..errors import ModelError, SelectionError, ServingError
from ..index.locations import is_server
from ..system.files import display
from .batching import BoundedPool, BusyError
from .duplicates import DuplicateSearches
from .encoder import Encoded, QueryEncoder
from .monitor import Monitor
from .queries import Page, Query
from .served import ServedIndex
from .thumbnails import Thumbnails

_WATCH = 0.5  # seconds between checks of the index folders
_WAITING = 256  # calls that wait for a thread
_REVIEWS = 16

T = TypeVar("T")


class Engine:
    """Answers queries about one or more indexes from any thread.

        with Engine(["photos.index"]) as engine:
            page = engine.search(Query(id=7)).result()
            encoded = engine.encode(Path("cat.jpg").read_bytes()).result()
            page = engine.search(Query(packed=encoded.packed)).result()

    An index that is replaced on disk is opened and verified in the background, and served from the next batch of
    queries on.

    Attributes:
        indexes: the served indexes by name; the first is the default.
        monitor: receives measurements.
        thumbnails: small pictures of their images.
        duplicates: searches for duplicates in them.
    """

    def __init__(
        self,
        locations: Sequence[str | Path],
        *,
        images: str | Path | None = None,
        model: str | Path | None = None,
        monitor: Monitor | None = None,
    ) -> None:
        """Open indexes and start the threads.

        Args:
            locations: index folders, or collections on a server.
            images: the folder of the images; by default the one that was encoded.
            model: the file of the hasher, if it is not where the images were encoded.
            monitor: receives measurements.

        Raises ServingError without any location, or if `images` is not a folder; what `transhash.open` raises.
        """
        if not locations:
            raise ServingError("nothing to serve; name an index")
        if images is not None and not os.path.isdir(images):
            raise ServingError(f"{display(images)}: not a folder; name the folder of the images")
        self.monitor = monitor or Monitor()
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="transhash-watch", daemon=True)
        self._pool = BoundedPool("decode", min(8, os.cpu_count() or 1), _WAITING)
        self._others = BoundedPool("work", 4, _WAITING)
        # One review at a time: each of two could rely on a copy that the other removes.
        self._reviews = BoundedPool("review", 1, _REVIEWS)
        self.thumbnails = Thumbnails(self.monitor)
        self.duplicates = DuplicateSearches()
        self._model = model
        self._encoders: dict[tuple[str, str], QueryEncoder] = {}
        self._encoding = threading.Lock()
        self.indexes: dict[str, ServedIndex] = {}
        try:
            self._open(locations, None if images is None else Path(images))
        except BaseException:
            self.close()
            raise
        self._watcher.start()

    def _open(self, locations: Sequence[str | Path], images: Path | None) -> None:
        for location in locations:
            name = _free_name(location, self.indexes)
            self.indexes[name] = ServedIndex(name, location, images, self.monitor)

    def __enter__(self) -> "Engine":
        """Return the engine."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the engine."""
        self.close()

    def index(self, name: str | None = None) -> ServedIndex:
        """Return an index by its name, or the first. Raises SelectionError if none has that name."""
        if name is None:
            return next(iter(self.indexes.values()))
        if name not in self.indexes:
            raise SelectionError(f"no index {name!r}; available: {', '.join(map(repr, self.indexes))}")
        return self.indexes[name]

    def search(self, query: Query, index: str | None = None) -> "Future[Page]":
        """Answer a query of an index.

        The future raises SelectionError for an unknown id or a filter that matches nothing, MismatchError for a code
        of another length. Raises BusyError at once if too many queries are waiting.
        """
        return self.index(index).queue.submit(query)

    def encode(self, image: bytes, index: str | None = None, *, outputs: bool = False) -> "Future[Encoded]":
        """Encode an image file that is in memory with the hasher of an index; see `QueryEncoder.encode`."""
        model = self.index(index).snapshot.model
        return self.encoder(model).encode(image, model, outputs)

    def encoder(self, model: ModelRef) -> QueryEncoder:
        """Return the encoder of images for indexes of a model. Raises ServingError after `close`."""
        # With the digest, because the file may be replaced by another hasher of the same name.
        key = str(self._model or model.name), model.digest
        with self._encoding:
            if self._stopped.is_set():
                raise ServingError("the service is stopping")
            if key not in self._encoders:
                self._encoders[key] = QueryEncoder(
                    key[0], self._pool, self.monitor, stored=self._model is None, fast=is_fast(model)
                )
            return self._encoders[key]

    def warm_up(self) -> None:
        """Start to load the hashers of all indexes, which takes seconds, before the first image needs them.

        A hasher that cannot be loaded is reported when an image needs it.
        """
        for served in self.indexes.values():
            with suppress(ModelError, BusyError):
                encoder = self.encoder(served.snapshot.model)
                self.work(getattr, encoder, "hasher")

    def work(self, function: Callable[..., T], *args: Any) -> "Future[T]":
        """Call a function in a thread of the engine. Raises BusyError if too many calls are waiting."""
        return self._others.submit(function, *args)

    def review(self, function: Callable[..., T], *args: Any) -> "Future[T]":
        """Call a function that lists or moves files, after all others that do. Raises BusyError as `work`."""
        return self._reviews.submit(function, *args)

    def refresh(self) -> None:
        """Open the indexes that were replaced on disk."""
        for served in self.indexes.values():
            served.refresh()

    def close(self) -> None:
        """Answer the waiting queries, and end the threads."""
        with self._encoding:
            self._stopped.set()
        if self._watcher.ident is not None:
            self._watcher.join()
        self._pool.close()
        self._others.close()
        self._reviews.close()
        self.thumbnails.close()
        self.duplicates.close()
        for encoder in self._encoders.values():
            encoder.close()
        for served in self.indexes.values():
            served.close()

    def _watch(self) -> None:
        while not self._stopped.wait(_WATCH):
            self.refresh()


def _free_name(location: str | Path, taken: dict[str, ServedIndex]) -> str:
    """Return a name for an index: that of its folder or collection, with a number if it is taken."""
    path = str(location).rstrip("/")
    name = display(path.rpartition("/")[2] if is_server(location) else Path(os.path.abspath(path)).name)
    name = name.removesuffix(".index") or "index"
    found, number = name, 2
    while found in taken:
        found, number = f"{name}-{number}", number + 1
    return found
