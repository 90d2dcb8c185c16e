"""Handlers for the page: static files that come with the package."""

from functools import cache
from http import HTTPStatus
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from .guard import PAGE_POLICY
from .problems import Problem
from .service import Service

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


async def page(service: Service, request: Request) -> Response:
    """Return the page."""
    return _file("index.html")


async def page_file(service: Service, request: Request) -> Response:
    """Return a file that the page loads."""
    return _file(request.path_params["file"])


def _file(name: str) -> Response:
    found = _files().get(name)
    if found is None:
        raise Problem(HTTPStatus.NOT_FOUND, f"/page/{name}: no such file")
    data, kind = found
    return Response(
        data, headers={"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache"}, media_type=kind
    )


@cache
def _files() -> dict[str, tuple[bytes, str]]:
    """Return the contents and types of all files of the page, which are few and small."""
    folder = files("transhash.serving").joinpath("page")
    return {
        file.name: (file.read_bytes(), kind)
        for file in folder.iterdir()
        if file.is_file() and (kind := _TYPES.get("." + file.name.rpartition(".")[2]))
    }
