"""The interface that a search backend implements.

A backend is a class named by an entry point of the group ``transhash.backends``::

    [project.entry-points."transhash.backends"]
    mine = "my_package:MyIndex"

A backend receives codes and returns positions, and stores only its index. The core (`transhash.index`) manages paths,
labels, the model's digest, the manifest and checksums.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..errors import BackendError
from ..results import Nearest, Within


@dataclass(frozen=True)
class SearchParameter:
    """The search parameter of an approximate index that trades time for recall, and its range."""

    name: str
    low: int
    high: int


class Backend(Protocol):
    """An index over packed codes. Ids are positions: the i-th code has id i.

    Codes and queries are checked before a backend gets them: C-contiguous uint8 of shape (n, bits/8). Parameters are
    those of the command line (``nlist``, ``nprobe``); a backend raises `BackendError` for unknown ones. An index type
    that does not support an operation raises `BackendError` with the reason and the types that support it.

    Searches take `allowed`, None or (n,) bool: they return only positions where it is true.
    """

    types: ClassVar[tuple[str, ...]]
    """The index types it can build; the first is the default."""

    bits: int
    """Width of a code."""

    reason: str
    """Why the backend chose the type of an index that it has just built; empty if the caller chose it."""

    @classmethod
    def build(
        cls, codes: NDArray[np.uint8], *, type: str | None = None, params: Mapping[str, int] | None = None
    ) -> Self:
        """Build an index of codes (n, bits/8) uint8, n >= 1."""
        ...

    def __len__(self) -> int:
        """Return the number of codes."""
        ...

    def add(self, codes: NDArray[np.uint8]) -> None:
        """Append codes (n, bits/8) uint8."""
        ...

    def remove(self, keep: NDArray[np.bool_]) -> None:
        """Remove the codes where `keep` (n,) is false; the others are renumbered from 0, in order."""
        ...

    def reconstruct(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return a copy of the codes with ids `start` to `stop`, (stop - start, bits/8) uint8.

        0 <= start <= stop <= n. A call may need a pass over the whole index, so read many codes at once.
        """
        ...

    def search(
        self,
        queries: NDArray[np.uint8],
        k: int,
        params: Mapping[str, int] | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Nearest:
        """Return the min(k, n) nearest codes of each query, k >= 1, ordered by (distance, id).

        With `allowed`, n is the number of allowed codes.
        """
        ...

    def range_search(
        self,
        queries: NDArray[np.uint8],
        radius: int,
        params: Mapping[str, int] | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Within:
        """Return every code at distance <= radius of each query, ordered by (distance, id)."""
        ...

    def save(self, folder: Path) -> None:
        """Write the index into `folder`, which exists and is empty, as plain files."""
        ...

    @classmethod
    def load(cls, folder: Path, mmap: bool = False) -> Self:
        """Open what `save` wrote; with `mmap`, map it as a read-only index instead of reading it.

        Lengths and checksums were verified against the manifest, but an attacker can write a matching manifest:
        raise `BackendError` for inconsistent contents.
        """
        ...

    def search_parameter(self) -> SearchParameter | None:
        """Return the search parameter that trades time for recall; None if every search is exact.

        At its highest value, a search compares all or nearly all codes.
        """
        ...

    def tune(self, value: int) -> None:
        """Set the default value of the search parameter; `info` shows it and `save` stores it."""
        ...

    def info(self) -> dict[str, int | str]:
        """Return the fields that ``th index info`` shows, ``type`` among them; JSON values only."""
        ...


class CodeRows(Protocol):
    """Packed codes that may not fit in memory: (n, bits/8) uint8, read in slices."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, bits/8)."""
        ...

    def __len__(self) -> int:
        """Return the number of codes."""
        ...

    def __getitem__(self, rows: slice) -> NDArray[np.uint8]:
        """Return the codes of a slice with step 1, in memory."""
        ...


@runtime_checkable
class Streaming(Protocol):
    """A backend that can build an index directly in its folder, for some types in constant memory."""

    @classmethod
    def stream(
        cls,
        rows: CodeRows,
        folder: Path,
        *,
        type: str | None = None,
        params: Mapping[str, int] | None = None,
        advance: Callable[[int], object] = lambda _: None,
    ) -> Backend:
        """Build an index in `folder`, with the files that `build` and `save` write, and open it, mapped if possible.

        Calls `advance` with the number of codes processed since the last call.
        """
        ...


@runtime_checkable
class Rewriting(Protocol):
    """A backend that can change a saved index, for some types in constant memory: read it, and write another."""

    @classmethod
    def rewrites(cls, type: str) -> bool:
        """Return whether the following methods support an index type, as `Backend.info` names it."""
        ...

    @classmethod
    def saved_codes(cls, folder: Path) -> AbstractContextManager[CodeRows]:
        """Open the codes that `Backend.save` wrote into `folder`, by position."""
        ...

    @classmethod
    def rewrite(
        cls,
        saved: Path,
        keep: NDArray[np.bool_],
        added: CodeRows,
        folder: Path,
        advance: Callable[[int], object] = lambda _: None,
    ) -> Backend:
        """Write a saved index into `folder`, without some of its codes and with others after them, and open it.

        Args:
            saved: folder of the index.
            keep: which of its codes stay, (n,) bool.
            added: further codes, of any number.
            folder: an empty folder.
            advance: called with the number of codes processed since the last call.

        The index is the one that `remove` and `add` would make; it is mapped if possible.
        """
        ...


def check_params(
    params: Mapping[str, int] | None, known: tuple[str, ...], what: str, least: int = 1
) -> dict[str, int]:
    """Return `params` as a dict; raise BackendError for one that `what` does not have, or a value below `least`."""
    checked = dict(params or {})
    for name, value in checked.items():
        if name not in known:
            can = f"it takes {', '.join(known)}" if known else "it takes none"
            raise BackendError(f"{what} has no parameter {name}; {can}")
        if value < least:
            raise BackendError(f"{name}={value}: must be at least {least}")
    return checked
