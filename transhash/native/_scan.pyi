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
) -> int: ...
def nearest_lists(
    isa: str,
    width: int,
    queries: Array,
    segments: Array,
    centroids: Array,
    probes: int,
    allowed: Array | None,
    k: int,
    ids: Array,
    distances: Array,
    /,
) -> int: ...
def gather(
    isa: str,
    width: int,
    queries: Array,
    segments: Array,
    pairs: Array,
    allowed: Array | None,
    radius: int,
    matches: Array,
    /,
) -> int: ...
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
def tally(isa: str, width: int, queries: Array, codes: Array, hits: Array | None, table: Array, /) -> None: ...
def mih_nearest(
    isa: str,
    width: int,
    codes: Array,
    bits: Array,
    offsets: Array,
    rows: Array,
    allowed: Array | None,
    queries: Array,
    k: int,
    count: float,
    budget: float,
    trial: float,
    ids: Array,
    distances: Array,
    costs: Array,
    /,
) -> None: ...
def mih_within(
    isa: str,
    width: int,
    codes: Array,
    bits: Array,
    offsets: Array,
    rows: Array,
    allowed: Array | None,
    queries: Array,
    radius: int,
    budget: float,
    counts: Array,
    /,
) -> bytes: ...
def mih_sort(width: int, codes: Array, bits: Array, offsets: Array, rows: Array, /) -> int: ...
def mih_fill(
    width: int, codes: Array, bits: Array, first: Array, table: int, offsets: Array, rows: Array, /
) -> None: ...
def join_sort(
    width: int, codes: Array, positions: Array, apart: Array, offsets: Array, rows: Array, planes: Array, /
) -> None: ...
def join_link(
    isa: str,
    width: int,
    bits: int,
    planes: Array,
    rows: Array,
    offsets: Array,
    masks: Array,
    parents: Array,
    radius: int,
    first: int,
    end: int,
    budget: int,
    /,
) -> int: ...
