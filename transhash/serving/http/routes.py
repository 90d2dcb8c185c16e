"""Every route, once: the application and the OpenAPI document are both made from this table."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from . import indexes, page, schemas, searching
from .service import Service

Handler = Callable[[Service, Request], Awaitable[Response]]


@dataclass(frozen=True)
class Parameter:
    """A query parameter: its name, its JSON schema, and what it is for."""

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
        answers: for each status the struct of the answer, the media type of one that is not JSON, or None.
        body: the struct of a JSON body.
        upload: whether the body may be multipart with an image instead.
        parameters: of the query.
        is_open: whether no token is needed.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    answers: dict[int, type | str | None]
    body: type | None = None
    upload: bool = False
    parameters: tuple[Parameter, ...] = field(default=())
    is_open: bool = False


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
    Route("GET", "/healthz", indexes.health, "Tell that the process answers.", {200: schemas.Health}, is_open=True),
    Route(
        "GET",
        "/readyz",
        indexes.readiness,
        "Tell whether requests are answered.",
        {200: schemas.Readiness, 503: schemas.Readiness},
        is_open=True,
    ),
)
