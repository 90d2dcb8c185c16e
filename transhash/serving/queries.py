"""A query of the engine, the page of matches that answers it, and the cursor that leads to the next page."""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..errors import ServingError
from ..index.filters import Filter

MAX_K = 1000
MAX_MATCHES = 10_000  # matches on all pages of one search
MAX_RADIUS = 1024

_MOST_VALUES = 64  # patterns or labels
_DAMAGED = "cursor: not one of this server; leave it out to start again"


Id = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
"""An id that an image can have."""


class QueryError(ServingError):
    """A malformed query, which no index can answer."""


class Passed(msgspec.Struct, frozen=True, array_like=True):
    """The matches on earlier pages: their number, and the last of them."""

    count: Annotated[int, msgspec.Meta(ge=0, le=MAX_MATCHES)] = 0
    distance: Annotated[int, msgspec.Meta(ge=-1, lt=1 << 31)] = -1
    id: Annotated[int, msgspec.Meta(ge=-1, le=(1 << 63) - 1)] = -1


@dataclass(frozen=True, eq=False)
class Query:
    """A query for one page of matches.

    Attributes:
        id: an image of the index, which is left out of the matches; None for another query.
        packed: the code, (bits/8,) uint8; None if `id` is given.
        outputs: the real-valued outputs of the query image (bits,), to re-rank by; None without re-ranking.
        k: matches per page.
        radius: only matches within this many bits; None for any distance.
        where: only images that pass this filter.
        candidates: with `outputs`, number of nearest codes to re-rank.
        passed: the matches on earlier pages.
    """

    id: int | None = None
    packed: NDArray[np.uint8] | None = None
    outputs: NDArray[np.float32] | None = None
    k: int = 50
    radius: int | None = None
    where: Filter | None = None
    candidates: int = 0
    passed: Passed = field(default_factory=Passed)

    def __post_init__(self) -> None:
        """Raise QueryError for an id that no image can have: it must not spoil the batch."""
        if self.id is not None and not 0 <= self.id < 1 << 63:
            raise QueryError(f"id={self.id}: must be from 0 to {(1 << 63) - 1}")


@dataclass(frozen=True)
class Found:
    """An image that a query found; `path` is as the index holds it, `score` is None without re-ranking."""

    id: int
    path: str
    labels: tuple[str, ...]
    distance: int
    score: float | None = None


@dataclass(frozen=True, eq=False)
class Page:
    """A page of matches, nearest first.

    Attributes:
        query: the query, with its code.
        matches: at most `k` images.
        generation: of the index that was searched.
        path: that of the image `query.id`; None for another query.
        following: the query for the next page; None if there are no more matches.
    """

    query: Query
    matches: list[Found]
    generation: str
    path: str | None
    following: Query | None


class _Cursor(msgspec.Struct, array_like=True):
    """A query as the client keeps it."""

    index: str
    id: Id | None
    packed: bytes | None
    outputs: bytes | None
    k: int
    radius: Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)] | None
    globs: tuple[str, ...]
    labels: tuple[str, ...]
    candidates: Annotated[int, msgspec.Meta(ge=0, le=MAX_MATCHES)]
    passed: Passed


def cursor_of(index: str, query: Query) -> str:
    """Return a text that holds a query of an index."""
    where = query.where or Filter()
    cursor = _Cursor(
        index,
        query.id,
        None if query.packed is None or query.id is not None else query.packed.tobytes(),
        None if query.outputs is None else query.outputs.astype("<f4").tobytes(),
        query.k,
        query.radius,
        tuple(where.globs),
        tuple(where.labels),
        query.candidates,
        query.passed,
    )
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(cursor)).decode()


def of_cursor(text: str, k: int | None = None) -> tuple[str, Query]:
    """Return the index and the query that a cursor holds, with another `k` if one is given.

    A client can forge a cursor, but only for a query that it could also send directly. Raises QueryError for a
    text that is not a cursor.
    """
    try:
        cursor = msgspec.msgpack.decode(base64.urlsafe_b64decode(text), type=_Cursor)
        packed = None if cursor.packed is None else np.frombuffer(cursor.packed, np.uint8)
        outputs = None if cursor.outputs is None else np.frombuffer(cursor.outputs, "<f4")
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise QueryError(_DAMAGED) from error
    if max(len(cursor.globs), len(cursor.labels)) > _MOST_VALUES:
        raise QueryError(_DAMAGED)
    if (packed is None) == (cursor.id is None) or (outputs is None) != (cursor.candidates == 0):
        raise QueryError(_DAMAGED)
    if outputs is not None and not np.isfinite(outputs).all():
        raise QueryError(_DAMAGED)
    query = Query(
        cursor.id,
        packed,
        outputs,
        checked_k(cursor.k if k is None else k),
        cursor.radius,
        Filter(cursor.globs, cursor.labels) if cursor.globs or cursor.labels else None,
        cursor.candidates,
        cursor.passed,
    )
    return cursor.index, query


def checked_k(k: int) -> int:
    """Return `k`. Raises QueryError if it is not from 1 to `MAX_K`."""
    if not 1 <= k <= MAX_K:
        raise QueryError(f"k={k}: must be from 1 to {MAX_K}")
    return k


def code_of(text: Any, bits: int) -> NDArray[np.uint8]:
    """Return a code (bits/8,) uint8 from its hexadecimal digits. Raises QueryError if it is of another length."""
    try:
        packed = np.frombuffer(bytes.fromhex(text), np.uint8)
    except (TypeError, ValueError):
        raise QueryError(f"code: not hexadecimal; give {bits // 4} digits") from None
    if len(packed) * 8 != bits:
        raise QueryError(f"code: {len(packed) * 8} bits; the codes of the index have {bits}, {bits // 4} digits")
    return packed
