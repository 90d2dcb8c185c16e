"""The metadata of a collection, stored in Milvus, and the lock against concurrent changes."""

import time
from typing import Self

from transhash.errors import BackendError

from .contents import STATE, Contents, Load, State
from .server import Server

_SETTLE = 0.5  # seconds after which the claim of a concurrent writer would be visible


class Ledger:
    """The metadata of a collection. A change of the state is stored on the server before it takes effect here.

    Attributes:
        server: the connection to the collection.
        contents: the metadata that never change.
        state: the state as last read or written.
    """

    def __init__(self, server: Server, contents: Contents, state: State) -> None:
        """Assemble a ledger; use `read` instead."""
        self.server = server
        self.contents = contents
        self.state = state

    @classmethod
    def read(cls, server: Server) -> Self:
        """Read the ledger of an existing collection. Raises BackendError if TransHash did not make it."""
        described = server.call("describe_collection")
        where = str(server.location)
        contents = Contents.read(described["description"], where)
        return cls(server, contents, State.read(described["properties"], where))

    def refresh(self) -> None:
        """Read the state again."""
        self.state = Ledger.read(self.server).state

    def check_idle(self) -> None:
        """Raise BackendError if a load has begun and is not complete."""
        pending = self.state.pending
        if pending:
            command = pending.kind if pending.kind in ("build", "sync") else "add"
            other = "" if command == "build" else ", or th index sync with what the collection should hold"
            raise BackendError(
                f"{self.server.location}: th index {command} of {pending.name} is under way or was stopped; "
                f"run it again{other}"
            )

    def begin(self, load: Load) -> None:
        """Reserve ids for a load, and prevent other changes. Raises BackendError if another change is in progress."""
        wanted = self.state.begin(load)
        self.write(wanted)
        time.sleep(_SETTLE)
        self._check(wanted)

    def end(self) -> None:
        """Mark the load as complete. Raises BackendError if another process took over."""
        self._check(self.state)
        self.write(self.state.end())

    def _check(self, wanted: State) -> None:
        self.refresh()
        if self.state != wanted:
            raise BackendError(f"{self.server.location}: another process is changing it; run the command again")

    def write(self, state: State) -> None:
        """Store the state."""
        self.server.call("alter_collection_properties", properties={STATE: state.dump()})
        self.state = state
