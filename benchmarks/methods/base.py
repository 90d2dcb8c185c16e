"""The interface of a search method."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..collection import Collection

Ids = NDArray[np.int64]


class Method(ABC):
    """An index type of one library, with the parameters that its authors recommend.

    Attributes:
        name: name in tables.
        family: ``codes``, ``float`` or ``peer``, as in `transhash.report.records.TableRow`.
        package: package that must be importable.
        over: data that it indexes: ``codes`` or ``vectors``.
        search_parameter: name of the parameter that trades time for recall; empty if there is none.
        server: whether the index is on a server, whose memory and disk usage cannot be measured.
        threads: number of threads of builds and searches.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    package: ClassVar[str]
    over: ClassVar[str] = "codes"
    search_parameter: ClassVar[str] = ""
    server: ClassVar[bool] = False

    def __init__(self, threads: int, uri: str = "") -> None:
        """Set the number of threads and, for methods with a server, its address."""
        self.threads = threads
        self.uri = uri

    def parameter_values(self) -> list[int]:
        """Return the values of the search parameter to try, ascending; [0] if there is none."""
        return [0]

    @classmethod
    def bytes_needed(cls, count: int, bits: int, dim: int) -> int:
        """Estimate the memory of a build in bytes, for `count` rows of `bits` bits and `dim` dimensions."""
        return count * (4 * dim if cls.over == "vectors" else bits // 8)

    @abstractmethod
    def build(self, collection: Collection) -> dict[str, Any]:
        """Index a collection; return the build parameters."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the index to an empty folder."""

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Load an index that `save` wrote, instead of `build`."""

    @abstractmethod
    def search(self, queries: NDArray[Any], k: int, value: int) -> Ids:
        """Search queries (q, bits/8) or (q, d); return ids (q, k) int64, nearest first, -1 for a missing result.

        `value` is that of the search parameter.
        """

    def drop(self) -> None:  # noqa: B027  most methods store nothing outside their folder
        """Remove data that `save` stored outside its folder."""


def doubling(low: int, high: int) -> list[int]:
    """Return `low`, 2·`low`, 4·`low`, … up to `high`, which is always the last value."""
    return [low << step for step in range(64) if low << step < high] + [high]
