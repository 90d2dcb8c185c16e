"""Errors as problem documents (RFC 9457), with the messages that `th` prints."""

from concurrent.futures import CancelledError
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ...errors import (
    BackendError,
    ImageError,
    MismatchError,
    ModelError,
    SelectionError,
    ServingError,
    TransHashError,
    redacted,
)
from ...system.files import printable
from ..batching import BusyError
from ..queries import QueryError
from ..review import ConflictError
from .answers import encoded

MEDIA_TYPE = "application/problem+json"

_STATUS: tuple[tuple[type[BaseException], HTTPStatus], ...] = (
    (BusyError, HTTPStatus.TOO_MANY_REQUESTS),
    (QueryError, HTTPStatus.BAD_REQUEST),
    (ConflictError, HTTPStatus.CONFLICT),
    (ServingError, HTTPStatus.SERVICE_UNAVAILABLE),
    (CancelledError, HTTPStatus.SERVICE_UNAVAILABLE),
    (TimeoutError, HTTPStatus.GATEWAY_TIMEOUT),
    (SelectionError, HTTPStatus.NOT_FOUND),
    (ImageError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (MismatchError, HTTPStatus.BAD_REQUEST),
    (ModelError, HTTPStatus.SERVICE_UNAVAILABLE),
    (BackendError, HTTPStatus.NOT_IMPLEMENTED),
    (TransHashError, HTTPStatus.BAD_REQUEST),
    (TypeError, HTTPStatus.BAD_REQUEST),
)


class Problem(Exception):
    """An error response: a status and a message."""

    def __init__(self, status: HTTPStatus, detail: str, headers: dict[str, str] | None = None) -> None:
        """Take the status, the sentence, and further headers of the answer."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


def bad_request(detail: str) -> Problem:
    """Return the problem of a request that is not as documented."""
    return Problem(HTTPStatus.BAD_REQUEST, detail)


def response(status: HTTPStatus, detail: str, headers: dict[str, str] | None = None) -> Response:
    """Return a problem document."""
    document = {
        "type": "about:blank",
        "title": status.phrase,
        "status": int(status),
        "detail": printable(redacted(detail)),
    }
    shared = {"Cache-Control": "no-store"}
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        shared["Retry-After"] = "1"
    return Response(encoded(document), status, {**shared, **(headers or {})}, MEDIA_TYPE)


async def on_problem(request: Request, error: Exception) -> Response:
    """Answer with a problem that a handler raised."""
    assert isinstance(error, Problem)
    return response(error.status, error.detail, error.headers)


async def on_http(request: Request, error: Exception) -> Response:
    """Answer with an error of Starlette: no such route, or another method."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    details = {
        HTTPStatus.NOT_FOUND: f"{request.url.path}: no such route; see /openapi.json",
        HTTPStatus.METHOD_NOT_ALLOWED: f"{request.url.path}: not for {request.method}",
    }
    return response(status, details.get(status, str(error.detail)), dict(error.headers or {}))


async def on_error(request: Request, error: Exception) -> Response:
    """Answer with an error of TransHash."""
    status = next(status for kind, status in _STATUS if isinstance(error, kind))
    detail = "the answer took too long" if isinstance(error, TimeoutError) else str(error)
    return response(status, detail or status.phrase)


async def on_defect(request: Request, error: Exception) -> Response:
    """Answer with an unexpected error, whose details only the log gets."""
    return response(
        HTTPStatus.INTERNAL_SERVER_ERROR, "a defect of TransHash; the log of the server has the traceback"
    )


HANDLERS = {
    Problem: on_problem,
    HTTPException: on_http,
    TransHashError: on_error,
    TypeError: on_error,
    TimeoutError: on_error,
    CancelledError: on_error,
    Exception: on_defect,
}
