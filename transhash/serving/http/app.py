"""The ASGI application: routes, with access control and error handling in front of them."""

import asyncio
from functools import partial

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from . import openapi, problems
from .guard import ROUTE, Guard
from .routes import ROUTES, Route
from .service import Service

ANSWER_SECONDS = 60.0  # time limit of a request, unless its route sets another


async def _handle(service: Service, route: Route, request: Request) -> Response:
    """Run the handler of a route with a time limit; the guard counts the request under its path."""
    request.scope[ROUTE] = route.path
    async with asyncio.timeout(route.seconds or ANSWER_SECONDS):
        return await route.handler(service, request)


def create_app(service: Service) -> Starlette:
    """Return the ASGI application that answers with an engine."""
    service.interface = openapi.document()
    middleware = []
    if service.origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=service.origins,
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type"],
            )
        )
    open_paths = frozenset(route.path for route in ROUTES if route.is_open)
    middleware.append(Middleware(Guard, service=service, open_paths=open_paths))
    return Starlette(
        routes=[
            StarletteRoute(route.path, partial(_handle, service, route), methods=[route.method]) for route in ROUTES
        ],
        middleware=middleware,
        exception_handlers=problems.HANDLERS,
    )
