"""The bodies of requests and answers; `docs/http.md` explains the fields, `openapi` publishes them."""

from typing import Annotated, Literal

import msgspec

from ..queries import Id

Text = Annotated[str, msgspec.Meta(max_length=1024)]


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
    globs: Annotated[list[Text], msgspec.Meta(max_length=64)] = []
    labels: Annotated[list[Text], msgspec.Meta(max_length=64)] = []
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
    """The process is alive."""

    status: Literal["ok"]


class IndexState(msgspec.Struct):
    """The state of an index that is served, and why a newer one is not."""

    name: str
    generation: str
    fault: str | None


class Readiness(msgspec.Struct, omit_defaults=True):
    """Whether requests are answered; `indexes` is left out for a client without the token."""

    status: str
    indexes: list[IndexState] | None = None


class Count(msgspec.Struct):
    """A label and the number of images that have it."""

    name: str
    count: int


class Labels(msgspec.Struct):
    """Labels, the most frequent first; `total` counts those that were left out, too."""

    labels: list[Count]
    total: int


class FolderCount(msgspec.Struct):
    """A folder, ending in a slash, and the number of images below it."""

    path: str
    count: int


class Folders(msgspec.Struct):
    """Folders in alphabetical order; `total` counts those that were left out, too."""

    folders: list[FolderCount]
    total: int


class ItemInfo(msgspec.Struct):
    """An image of an index."""

    id: int
    path: str
    labels: tuple[str, ...]


class Items(msgspec.Struct):
    """A page of images."""

    index: str
    items: list[ItemInfo]
    total: int
    cursor: str | None


class FileInfo(msgspec.Struct):
    """The current state of an image's file."""

    bytes: int | None
    modified: float | None
    width: int | None
    height: int | None
    state: str


class Item(msgspec.Struct):
    """Everything that is known about an image."""

    index: str
    id: int
    path: str
    labels: tuple[str, ...]
    code: str | None
    file: FileInfo | None


class Progress(msgspec.Struct):
    """The progress of the search for duplicates."""

    done: int
    total: int


class ClusterImage(msgspec.Struct):
    """An image of a cluster."""

    id: int
    path: str
    distance: int
    role: str
    protected: bool
    file: int
    frees: int
    bytes: int | None
    width: int | None
    height: int | None
    modified: float | None
    labels: tuple[str, ...]


class ClusterInfo(msgspec.Struct):
    """Near-duplicates; the first image is the one that is kept."""

    cluster: int
    spare_bytes: int
    images: list[ClusterImage]


class Totals(msgspec.Struct):
    """Sums over all clusters."""

    clusters: int
    images: int
    spare: int
    spare_bytes: int
    larger: int
    chained: int
    changed: int
    missing: int
    unverified: int


class DuplicatesAnswer(msgspec.Struct, omit_defaults=True):
    """A page of clusters."""

    index: str
    generation: str
    radius: int
    keep: str
    clusters: list[ClusterInfo]
    totals: Totals
    cursor: str | None
    spare_ids: list[int] | None = None


Ids = list[Id]
Folder = Annotated[list[Text], msgspec.Meta(max_length=64)]


class ClustersRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Images whose clusters are requested, and the rules by which the clusters are found."""

    ids: Annotated[Ids, msgspec.Meta(min_length=1, max_length=10_000)]
    index: str | None = None
    radius: int | None = None
    keep: Literal["largest", "oldest", "path"] = "largest"
    prefer: Folder = []
    reference: Folder = []


class ClustersAnswer(msgspec.Struct):
    """The clusters of the requested images."""

    index: str
    generation: str
    clusters: list[ClusterInfo]


class ReviewRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The images chosen for removal, and the rules by which their clusters are found."""

    remove: Annotated[Ids, msgspec.Meta(min_length=1, max_length=4_000_000)]
    index: str | None = None
    radius: int | None = None
    keep: Literal["largest", "oldest", "path"] = "largest"
    prefer: Folder = []
    reference: Folder = []
    last_copies: Annotated[Ids, msgspec.Meta(max_length=4_000_000)] = []
    action: Literal["check", "list", "trash"] = "list"
    format: Literal["lines", "nul", "json"] = "lines"
    confirm: int | None = None


class Removal(msgspec.Struct):
    """The paths that were chosen, and the bytes of their files."""

    paths: list[str]
    bytes: int


class GoingImage(msgspec.Struct):
    """An image that may be removed, and a copy that stays; null for a last copy."""

    id: int
    path: str
    bytes: int
    stays: int | None
    stays_path: str | None


class FailedImage(msgspec.Struct):
    """An image whose file must not be moved, or was not moved."""

    id: int
    path: str
    reason: str


class Checked(msgspec.Struct):
    """The images that may be removed, given the current files; `going` holds at most 1,000 of the `images`."""

    images: int
    bytes: int
    line_breaks: bool
    going: list[GoingImage]
    refused: list[FailedImage]


class TrashedImage(msgspec.Struct):
    """An image whose file was moved to the trash."""

    id: int
    path: str
    bytes: int


class Trashed(msgspec.Struct):
    """The images that were moved to the trash."""

    trashed: list[TrashedImage]
    failed: list[FailedImage]
    bytes: int


class Session(msgspec.Struct):
    """Whether clients must send a token, and whether this one did."""

    needed: bool
    admitted: bool


class SessionRequest(msgspec.Struct, forbid_unknown_fields=True):
    """A browser that signs in."""

    token: Annotated[str, msgspec.Meta(max_length=4096)]
