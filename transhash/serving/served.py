"""An index that is being served, and replaced when it changes on disk."""

import threading
from pathlib import Path

from ..errors import TransHashError, one_line
from ..index import manifest
from ..index.collection import open as open_index
from ..index.locations import is_server
from .batching import Batcher
from .files import ImageFolder
from .monitor import Monitor
from .queries import Page, Query
from .scanning import answer
from .snapshot import Snapshot


class ServedIndex:
    """An index under a name.

    Attributes:
        name: what clients call it.
        location: an index folder, or a collection on a server.
        fault: why the index on disk is not the one that is served; empty if it is served.
    """

    def __init__(self, name: str, location: str | Path, images: Path | None, monitor: Monitor) -> None:
        """Open an index. Raises what `transhash.open` raises, or opening its files."""
        self.name = name
        self.location = location
        self.fault = ""
        self._images = images
        self._refreshing = threading.Lock()
        self._refused = ""  # generation of a damaged index
        self._state = self._opened()
        self.queue: Batcher[Query, Page] = Batcher("scan", lambda queries: answer(self.snapshot, queries), monitor)

    @property
    def snapshot(self) -> Snapshot:
        """The state that is being served; read it once per operation, because it may be replaced at any time."""
        return self._state[0]

    @property
    def folder(self) -> ImageFolder:
        """The folder of its images."""
        return self._state[1]

    @property
    def state(self) -> tuple[Snapshot, ImageFolder]:
        """The snapshot and its image folder."""
        return self._state

    def refresh(self) -> bool:
        """Open the index again if it was replaced on disk, and return whether a new one is served.

        A damaged index is not served: the earlier one stays, and `fault` says why.
        """
        if is_server(self.location):
            return False
        with self._refreshing:
            try:
                generation = self._generation()
                if generation == self.snapshot.generation:
                    self.fault = self._refused = ""
                    return False
                if generation == self._refused:
                    return False
            except (TransHashError, OSError) as error:
                self.fault = one_line(error)
                return False
            try:
                self._state = self._opened()
            except (TransHashError, OSError, MemoryError) as error:
                self.fault, self._refused = one_line(error), generation
                return False
            self.fault = self._refused = ""
            return True

    def close(self) -> None:
        """Answer the waiting queries, and take no others."""
        self.queue.close()

    def _opened(self) -> tuple[Snapshot, ImageFolder]:
        """Open and verify the index. If it is replaced meanwhile, the result names the state that was opened."""
        while True:
            generation = self._generation()
            collection = open_index(self.location)
            snapshot = Snapshot(collection, generation)
            if self._generation() == generation:
                return snapshot, ImageFolder.of(snapshot, self._images)

    def _generation(self) -> str:
        """Return the name of the state on disk; empty for a server."""
        return "" if is_server(self.location) else manifest.read(Path(self.location)).folders[-1]
