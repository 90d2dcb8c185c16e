from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]

def names() -> list[str]: ...
def nearest(
    isa: str,
    width: int,
    queries: Array,
    segments: Array,
    pairs: Array,
    allowed: Array | None,
    k: int,
    ids: Array,
    distances: Array,
    /,
) -> None: ...
def count(
    isa: str,
    width: int,
    queries: Array,
    segments: Array,
    pairs: Array,
    allowed: Array | None,
    radius: int,
    counts: Array,
    /,
) -> None: ...
def fill(
    isa: str,
    width: int,
    queries: Array,
    segments: Array,
    pairs: Array,
    allowed: Array | None,
    radius: int,
    cursors: Array,
    ids: Array,
    /,
) -> None: ...
def tally(isa: str, width: int, queries: Array, codes: Array, hits: Array, table: Array, /) -> None: ...
