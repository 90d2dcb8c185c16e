"""What a collection says of itself, kept in Milvus, and who may change it."""

import time
from typing import Self

from transhash.errors import BackendError

from .contents import STATE, Contents, Load, State
from .server import Server

_SETTLE = 0.5  # seconds in which another writer that had looked before us would show


class Ledger:
    """The contents and state of a collection; every change of the state is the server's before it counts here.

    Attributes:
        server: where the collection lies.
        contents: what never changes.
        state: as it was read or written last.
    """

    def __init__(self, server: Server, contents: Contents, state: State) -> None:
        """Put it together; use `read` instead."""
        self.server = server
        self.contents = contents
        self.state = state

    @classmethod
    def read(cls, server: Server) -> Self:
        """Read the ledger of a collection that is there. Raises BackendError if it is not ours."""
        described = server.call("describe_collection")
        where = str(server.location)
        contents = Contents.read(described["description"], where)
        return cls(server, contents, State.read(described["properties"], where))

    def refresh(self) -> None:
        """Read the state again."""
        self.state = Ledger.read(self.server).state

    def check_idle(self) -> None:
        """Raise BackendError if something was begun and has not ended."""
        pending = self.state.pending
        if pending:
            command = pending.kind if pending.kind in ("build", "sync") else "add"
            other = "" if command == "build" else ", or th index sync with what the collection shall hold"
            raise BackendError(
                f"{self.server.location}: th index {command} of {pending.name} is under way or was stopped; "
                f"run it again{other}"
            )

    def begin(self, load: Load) -> None:
        """Give ids to a load, and keep others from changing the collection. Raises BackendError if others are."""
        wanted = self.state.begin(load)
        self.write(wanted)
        time.sleep(_SETTLE)
        self._check(wanted)

    def end(self) -> None:
        """Say that what was begun has arrived. Raises BackendError if another process took over."""
        self._check(self.state)
        self.write(self.state.end())

    def _check(self, wanted: State) -> None:
        self.refresh()
        if self.state != wanted:
            raise BackendError(f"{self.server.location}: another process is changing it; run the command again")

    def write(self, state: State) -> None:
        """Make this the state."""
        self.server.call("alter_collection_properties", properties={STATE: state.dump()})
        self.state = state
