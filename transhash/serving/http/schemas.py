"""The bodies of requests and answers; `docs/http.md` explains the fields, `openapi` publishes them."""

from typing import Literal

import msgspec


class Word(msgspec.Struct):
    """What distances up to a number of bits mean."""

    within: int
    word: str


class IndexInfo(msgspec.Struct):
    """An index that is served."""

    name: str
    count: int
    bits: int
    model: str
    type: str
    generation: str
    root: str | None
    labels: int
    images: bool
    codes: bool
    reranks: list[str]
    default_radius: int
    words: list[Word]
    fault: str | None


class Indexes(msgspec.Struct):
    """All indexes, and what the server allows."""

    indexes: list[IndexInfo]
    allow_trash: bool
    max_upload_bytes: int
    max_k: int
    thumbnail_sizes: list[int]
    version: str


class SearchRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A search for an image of the index, a code, or the next page."""

    index: str | None = None
    id: int | None = None
    path: str | None = None
    code: str | None = None
    cursor: str | None = None
    k: int | None = None
    radius: int | None = None
    globs: list[str] = []
    labels: list[str] = []
    rerank: Literal["asymmetric"] | None = None


class QueryInfo(msgspec.Struct):
    """What was searched for."""

    id: int | None
    path: str | None
    code: str


class MatchInfo(msgspec.Struct):
    """An image that a search found."""

    id: int
    path: str
    labels: tuple[str, ...]
    distance: int
    score: float | None


class SearchAnswer(msgspec.Struct):
    """A page of matches."""

    index: str
    bits: int
    generation: str
    query: QueryInfo
    matches: list[MatchInfo]
    cursor: str | None


class ProblemDocument(msgspec.Struct):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


class Health(msgspec.Struct):
    """The process answers."""

    status: Literal["ok"]


class IndexState(msgspec.Struct):
    """Which state of an index is served, and why a newer one is not."""

    name: str
    generation: str
    fault: str | None


class Readiness(msgspec.Struct, omit_defaults=True):
    """Whether requests are answered; `indexes` is left out for a client without the token."""

    status: str
    indexes: list[IndexState] | None = None
