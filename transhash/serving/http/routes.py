"""Every route, once: the application and the OpenAPI document are both made from this table."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ...duplicates import KEEP
from ..queries import MAX_RADIUS
from . import clearing, indexes, items, operation, page, pictures, schemas, searching
from .service import Service

Handler = Callable[[Service, Request], Awaitable[Response]]


@dataclass(frozen=True)
class Parameter:
    """A query parameter: its name, JSON schema and description."""

    name: str
    schema: dict[str, Any]
    description: str


@dataclass(frozen=True)
class Route:
    """A route.

    Attributes:
        method: GET, POST or DELETE.
        path: with names of parts in braces.
        handler: answers the requests.
        summary: one line.
        answers: for each status the struct of the answer or several, the media type of one that is not JSON, or None.
        body: the struct of a JSON body.
        upload: whether the body may be multipart with an image instead.
        parameters: of the query.
        is_open: whether no token is needed.
        seconds: after which a request ends without an answer; 0 for the time of most.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answers: dict[int, type | tuple[type, ...] | str | None]
    body: type | None = None
    upload: bool = False
    parameters: tuple[Parameter, ...] = field(default=())
    is_open: bool = False
    seconds: float = 0


_INDEX = Parameter("index", {"type": "string"}, "Name of the index; by default the first.")
_PREFIX = Parameter("prefix", {"type": "string"}, "Prefix of the names.")
_CURSOR = Parameter("cursor", {"type": "string"}, "The cursor of an earlier answer, for the next page.")
_MANY = {"type": "array", "items": {"type": "string"}}


def _limit(most: int, default: int) -> Parameter:
    return Parameter(
        "limit", {"type": "integer", "minimum": 1, "maximum": most, "default": default}, "Length of the page."
    )


def _choice(name: str, values: tuple[str, ...], description: str) -> Parameter:
    return Parameter(name, {"type": "string", "enum": list(values), "default": values[0]}, description)


_BLANK = _choice(
    "blank", ("false", "true"), "Return a transparent pixel, not an error, for an image that cannot be shown."
)

_ROUTES_OF_ITEMS = (
    Route(
        "GET",
        "/v1/items",
        items.items,
        "List images, in order or at random.",
        {200: schemas.Items},
        parameters=(
            _INDEX,
            Parameter("label", _MANY, "Only images with one of these labels."),
            Parameter("glob", _MANY, "Only images whose path matches one of these patterns."),
            _choice("order", ("id", "random"), "The order of the images."),
            Parameter("seed", {"type": "integer", "minimum": 0, "default": 0}, "Makes a random order repeatable."),
            _limit(1000, 50),
            _CURSOR,
        ),
    ),
    Route("GET", "/v1/items/{id}", items.item, "Describe an image.", {200: schemas.Item}, parameters=(_INDEX,)),
    *(
        Route("GET", path, handler, summary, {200: kind}, parameters=(_INDEX, _PREFIX, _limit(1000, 50)))
        for path, handler, summary, kind in (
            ("/v1/labels", items.labels, "List labels, the most frequent first.", schemas.Labels),
            ("/v1/folders", items.folders, "List folders of images.", schemas.Folders),
        )
    ),
    Route(
        "GET",
        "/v1/images/{id}",
        pictures.image,
        "The image file, or a JPEG if browsers do not show its format.",
        {200: "image/*", 304: None},
        parameters=(_INDEX, _BLANK),
    ),
    Route(
        "GET",
        "/v1/thumbnails/{id}",
        pictures.thumbnail,
        "A small upright picture of the image.",
        {200: "image/jpeg", 304: None},
        parameters=(
            _INDEX,
            _BLANK,
            Parameter(
                "size",
                {"type": "integer", "minimum": 1, "maximum": 4096, "default": 256},
                "Pixels of the longer side; rounded up to one of thumbnail_sizes.",
            ),
        ),
    ),
)

_ROUTES_OF_DUPLICATES = (
    Route(
        "GET",
        "/v1/duplicates",
        clearing.duplicates,
        "Find near-duplicates.",
        {200: schemas.DuplicatesAnswer, 202: schemas.Progress},
        parameters=(
            _INDEX,
            Parameter(
                "radius",
                {"type": "integer", "minimum": 0, "maximum": MAX_RADIUS},
                "Bits in which near-duplicates may differ.",
            ),
            _choice("keep", KEEP, "Which image of a cluster is kept."),
            Parameter("prefer", _MANY, "Folders whose images are kept rather than others."),
            Parameter("reference", _MANY, "Folders whose images are always kept."),
            _choice("fresh", ("false", "true"), "Whether to check the files again."),
            _limit(200, 20),
            _CURSOR,
        ),
    ),
    Route(
        "POST",
        "/v1/clusters",
        clearing.clusters_of,
        "Find the clusters of near-duplicates that contain given images.",
        {200: schemas.ClustersAnswer, 202: schemas.Progress},
        body=schemas.ClustersRequest,
    ),
    Route(
        "POST",
        "/v1/review",
        clearing.review_choice,
        "Check the images chosen for removal, list them, or move them to the trash.",
        {200: (schemas.Checked, schemas.Removal, schemas.Trashed), 202: schemas.Progress},
        body=schemas.ReviewRequest,
        seconds=300,
    ),
)

_ROUTES_OF_OPERATION = (
    Route(
        "GET",
        "/v1/session",
        operation.session,
        "Report whether a token is required, and whether the request carries it.",
        {200: schemas.Session},
        is_open=True,
    ),
    Route(
        "POST",
        "/v1/session",
        operation.sign_in,
        "Give a browser a cookie that stands for the token.",
        {204: None},
        body=schemas.SessionRequest,
        is_open=True,
    ),
    Route("DELETE", "/v1/session", operation.sign_out, "Delete the cookie.", {204: None}, is_open=True),
    Route(
        "GET", "/healthz", indexes.health, "Report that the process is alive.", {200: schemas.Health}, is_open=True
    ),
    Route(
        "GET",
        "/readyz",
        indexes.readiness,
        "Report whether the server is ready.",
        {200: schemas.Readiness, 503: schemas.Readiness},
        is_open=True,
    ),
    Route("GET", "/metrics", operation.metrics, "Metrics for Prometheus.", {200: "text/plain"}),
    Route("GET", "/openapi.json", operation.openapi, "This document.", {200: "application/json"}, is_open=True),
)

ROUTES = (
    Route("GET", "/", page.page, "The page.", {200: "text/html"}, is_open=True),
    Route("GET", "/page/{file}", page.page_file, "A file of the page.", {200: "*/*"}, is_open=True),
    Route("GET", "/v1/indexes", indexes.indexes, "List the indexes.", {200: schemas.Indexes}),
    Route(
        "POST",
        "/v1/search",
        searching.search,
        "Find the images most like one of the index, a code or an uploaded image.",
        {200: schemas.SearchAnswer},
        body=schemas.SearchRequest,
        upload=True,
    ),
    *_ROUTES_OF_ITEMS,
    *_ROUTES_OF_DUPLICATES,
    *_ROUTES_OF_OPERATION,
)
