"""Handlers for browsers that sign in, and for operators of the server."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from . import metrics as measured
from . import reading
from .answers import answer
from .problems import Problem
from .schemas import Session, SessionRequest
from .service import COOKIE, Service


async def sign_in(service: Service, request: Request) -> Response:
    """Sign a browser in: set a cookie that stands for the token."""
    wanted = await reading.document(request, SessionRequest)
    response = Response(status_code=HTTPStatus.NO_CONTENT)
    if service.token:
        if not service.is_token(wanted.token):
            raise Problem(
                HTTPStatus.UNAUTHORIZED, "this is not the token of the server", {"WWW-Authenticate": "Bearer"}
            )
        secure = request.url.scheme == "https"
        response.set_cookie(COOKIE, service.session, httponly=True, samesite="strict", secure=secure)
    return response


async def session(service: Service, request: Request) -> Response:
    """Report whether a token is required, and whether the request carries it."""
    return answer(Session(bool(service.token), service.admits(request)))


async def sign_out(service: Service, request: Request) -> Response:
    """Delete the cookie."""
    response = Response(status_code=HTTPStatus.NO_CONTENT)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


async def metrics(service: Service, request: Request) -> Response:
    """Return the metrics of the server."""
    return Response(service.metrics.text(service.engine), media_type=measured.MEDIA_TYPE)


async def openapi(service: Service, request: Request) -> Response:
    """Return the description of all routes."""
    return answer(service.interface)
