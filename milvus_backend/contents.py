"""The metadata of a collection: constant ones in its description, the changing state in a property."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from transhash.codes import ModelRef
from transhash.errors import BackendError

PARAMS = {"flat": (), "ivf": ("nlist", "nprobe")}  # parameters of each index type

FORMAT = "transhash-collection"
VERSION = 0
STATE = "transhash.state"  # name of the property that holds the state

_LOADS = 64  # number of loads that are remembered


@dataclass(frozen=True)
class Contents:
    """The metadata that never change.

    Attributes:
        model: the model that made the codes.
        type: index type, ``flat`` or ``ivf``.
        params: parameters of the index.
        root: the folder that patterns are relative to, as `expressions.text` writes it.
    """

    model: ModelRef
    type: str
    params: dict[str, int]
    root: str

    def dump(self) -> str:
        """Return the collection's description, as JSON."""
        return json.dumps({"format": FORMAT, "version": VERSION, **asdict(self)})

    @classmethod
    def read(cls, description: str, where: str) -> Self:
        """Read what `dump` wrote. Raises BackendError for one of another program or version."""
        foreign = BackendError(f"{where}: not a collection of TransHash, so it was not changed; choose another name")
        try:
            document = json.loads(description)
        except (ValueError, RecursionError):
            raise foreign from None
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise foreign
        if document.get("version") != VERSION:
            raise BackendError(
                f"{where}: format version {document.get('version')!r}, this TransHash reads {VERSION}; upgrade it"
            )
        try:
            model, kind = document["model"], document["type"]
            return cls(
                ModelRef(str(model["name"]), str(model["digest"]), int(model["bits"]), str(model["preprocessing"])),
                kind,
                {name: int(document["params"][name]) for name in PARAMS[kind]},
                str(document["root"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise BackendError(f"{where}: its description is damaged ({error!r}); build it again") from None


@dataclass(frozen=True)
class Load:
    """A load of codes that has begun and is not complete.

    Attributes:
        kind: ``build``, ``add``, ``replace`` or ``sync``.
        name: name of the codes file, for messages.
        digest: digest of the codes file.
        first: id of its first row, or of the first row that ``sync`` adds.
        rows: number of rows.
    """

    kind: str
    name: str
    digest: str
    first: int
    rows: int

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Read what `State.dump` wrote of it. Raises KeyError, TypeError or ValueError."""
        kind, name, digest = (str(document[field]) for field in ("kind", "name", "digest"))
        return cls(kind, name, digest, int(document["first"]), int(document["rows"]))


@dataclass(frozen=True)
class State:
    """The metadata that change.

    Attributes:
        next_id: the id of the next row, above all that were ever used.
        loads: digests of the codes files loaded last, of which no row has been removed since.
        pending: the load that has begun and is not complete, if any.
    """

    next_id: int
    loads: tuple[str, ...] = ()
    pending: Load | None = None

    def dump(self) -> str:
        """Return the value of the property, as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, properties: Mapping[str, Any], where: str) -> Self:
        """Read what `dump` wrote. Raises BackendError if it is not there or damaged."""
        try:
            document = json.loads(properties[STATE])
            return cls(
                int(document["next_id"]),
                tuple(map(str, document["loads"])),
                Load.of(document["pending"]) if document["pending"] else None,
            )
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise BackendError(f"{where}: its property {STATE} is damaged ({error!r}); build it again") from None

    def begin(self, load: Load) -> "State":
        """Return the state during a load; its ids count as used from now on."""
        return State(load.first + load.rows, self.loads, load)

    def end(self) -> "State":
        """Return the state after the pending load."""
        assert self.pending is not None
        before = self.loads if self.pending.kind in ("build", "add") else ()
        return State(self.next_id, (*before, self.pending.digest)[-_LOADS:])

    def without(self) -> "State":
        """Return the state when rows are removed."""
        return State(self.next_id)

    def holds(self, digest: str) -> bool:
        """Return whether all rows of a codes file are in the collection."""
        return digest in self.loads and self.pending is None
