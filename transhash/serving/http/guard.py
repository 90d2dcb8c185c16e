"""Access control in front of every handler: who may send requests, and from where."""

import time
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import problems
from .service import Service

ROUTE = "transhash.route"  # key in the ASGI scope: the path of the route as in the table of routes

_SAFE = ("GET", "HEAD", "OPTIONS")
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
}


class Guard:
    """ASGI middleware that lets only permitted requests through, and adds the security headers to every answer."""

    def __init__(self, app: ASGIApp, service: Service, open_paths: frozenset[str]) -> None:
        """Guard `app`; the paths in `open_paths`, and those below ``/page/``, need no token."""
        self._app = app
        self._service = service
        self._open = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or pass on a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        status, start = 0, time.perf_counter()

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(request, MutableHeaders(scope=message))
            await send(message)

        refusal = self._refusal(request, scope["method"])
        try:
            await (self._app if refusal is None else _refused(*refusal))(scope, receive, guarded)
        finally:
            self._service.metrics.request(scope.get(ROUTE, ""), status, time.perf_counter() - start)

    def _refusal(self, request: HTTPConnection, method: str) -> tuple[HTTPStatus, str] | None:
        """Return why a request is refused, or None."""
        if "content-length" in request.headers and "transfer-encoding" in request.headers:
            return HTTPStatus.BAD_REQUEST, "a request has Content-Length or Transfer-Encoding, not both"
        hosts, host = self._service.hosts, _host(request.headers.get("host", ""))
        if hosts and host not in hosts:
            return HTTPStatus.FORBIDDEN, f"the server is not called {host!r}"
        origin = request.headers.get("origin")
        if method not in _SAFE and origin is not None and not self._trusts(origin, request):
            return HTTPStatus.FORBIDDEN, "requests from pages of other sites are refused"
        path = request.scope["path"]
        if path in self._open or path.startswith("/page/") or method == "OPTIONS" or self._service.admits(request):
            return None
        return HTTPStatus.UNAUTHORIZED, "a token is needed: Authorization: Bearer TOKEN"

    def _trusts(self, origin: str, request: HTTPConnection) -> bool:
        if origin in self._service.origins:
            return True
        return urlsplit(origin).netloc == request.headers.get("host")

    def _add_headers(self, request: HTTPConnection, headers: MutableHeaders) -> None:
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
        if self._service.origins and request.headers.get("origin") in self._service.origins:
            headers["Cross-Origin-Resource-Policy"] = "cross-origin"


def _refused(status: HTTPStatus, detail: str) -> ASGIApp:
    extra = {
        HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
        HTTPStatus.BAD_REQUEST: {"Connection": "close"},  # a proxy may disagree on where the next request starts
    }
    return problems.response(status, detail, extra.get(status, {}))


def _host(text: str) -> str:
    """Return the name or address in a Host header, in lower case and without the port."""
    try:
        return (urlsplit(f"//{text}").hostname or "").lower()
    except ValueError:
        return ""
