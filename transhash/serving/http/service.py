"""The state that all request handlers share."""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from starlette.requests import HTTPConnection, Request

from ..engine import Engine
from ..served import ServedIndex
from .deliveries import Deliveries
from .metrics import Metrics
from .reading import Uploads

COOKIE = "transhash"

T = TypeVar("T")


@dataclass
class Service:
    """An engine, and the permissions of its clients.

    Attributes:
        engine: answers the queries.
        metrics: counts what happens.
        token: the token that clients must send; empty if none is required.
        origins: other sites whose pages may read the answers.
        allow_trash: whether clients may move files to the trash.
        hosts: the names under which the server is reached; any if empty.
        deliveries: the answers on their way into the event loop.
        uploads: the images that are in memory.
        interface: the OpenAPI document.
        stopping: whether the server is finishing its open requests.
    """

    engine: Engine
    metrics: Metrics
    token: str = ""
    origins: tuple[str, ...] = ()
    allow_trash: bool = False
    hosts: frozenset[str] = field(default_factory=frozenset)
    deliveries: Deliveries = field(default_factory=Deliveries)
    uploads: Uploads = field(default_factory=Uploads)
    interface: dict[str, Any] = field(default_factory=dict)
    stopping: bool = False

    def index(self, request: Request) -> ServedIndex:
        """Return the index that the parameter ``index`` names. Raises SelectionError if there is none."""
        return self.engine.index(request.query_params.get("index"))

    def admits(self, request: HTTPConnection) -> bool:
        """Return whether a request carries the token, in a header or as a session cookie."""
        if not self.token:
            return True
        kind, _, shown = request.headers.get("authorization", "").partition(" ")
        shown = shown.strip() if kind.lower() == "bearer" else ""
        return self.is_token(shown) | hmac.compare_digest(
            request.cookies.get(COOKIE, "").encode(), self.session.encode()
        )

    def is_token(self, text: str) -> bool:
        """Compare a text with the token in constant time."""
        return hmac.compare_digest(_digest(text), _digest(self.token))

    @cached_property
    def session(self) -> str:
        """The value of the session cookie: not the token itself, and different after a restart."""
        return hmac.digest(self.token.encode(), secrets.token_bytes(32), "sha256").hex()

    async def work(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function that may take long in a thread. Raises BusyError if too many calls are waiting."""
        return await self.result(self.engine.work(function, *args))

    async def result(self, future: "Future[T]") -> T:
        """Wait for an answer of the engine without blocking others."""
        try:
            answer: T = await self.deliveries.awaited(future)
            return answer
        finally:
            future.cancel()  # after a timeout, nobody needs the answer


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
