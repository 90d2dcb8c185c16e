"""The contract of a method that searches."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..collection import Collection

Ids = NDArray[np.int64]


class Method(ABC):
    """An index of one library, with the parameters that its makers recommend.

    Attributes:
        name: for tables.
        family: ``codes``, ``float`` or ``peer``, as in `transhash.report.records.Row`.
        package: what must be importable.
        over: what it indexes: ``codes`` or ``vectors``.
        search_parameter: the parameter of a search that trades time for recall; empty if there is none.
        server: whether a server of its own holds the index, whose memory and files are not seen from here.
        threads: for everything it does.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    package: ClassVar[str]
    over: ClassVar[str] = "codes"
    search_parameter: ClassVar[str] = ""
    server: ClassVar[bool] = False

    def __init__(self, threads: int, uri: str = "") -> None:
        """Take the number of threads, and where the server is, for methods that have one."""
        self.threads = threads
        self.uri = uri

    def parameter_values(self) -> list[int]:
        """Return the values of the search parameter to try, ascending; [0] if there is none."""
        return [0]

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Return about how much memory the build takes."""
        return count * (4 * dim if cls.over == "vectors" else bits // 8)

    @abstractmethod
    def build(self, collection: Collection) -> dict[str, Any]:
        """Index a collection; return the parameters."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the index into an empty folder."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Open what `save` wrote, without `build`."""

    @abstractmethod
    def search(self, queries: NDArray[Any], k: int, value: int) -> Ids:
        """Return the ids that it finds for queries (q, w), nearest first, (q, k) int64; -1 for an empty place."""

    def drop(self) -> None:  # noqa: B027  most leave nothing but their folder
        """Remove what `save` left elsewhere than in its folder."""


def doubling(low: int, high: int) -> list[int]:
    """Return low, 2 · low, 4 · low, ... and `high`."""
    return [low << step for step in range(64) if low << step < high] + [high]
