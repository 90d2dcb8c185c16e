"""Run the application with uvicorn until it is asked to stop; then finish what was begun."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ...errors import ServingError
from .app import create_app
from .service import Service

_HEAD_SECONDS = 15.0  # that a client may take to send the head of a request
_DRAIN_SECONDS = 30  # for what has begun when the server stops
_CONNECTIONS = 1024
_BACKLOG = 256


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises ServingError if the address is not to be had."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if number and number > 0 else str(error)
        raise ServingError(f"{host}:{port}: {reason}; choose another --host or --port") from None


def run(service: Service, listening: socket.socket, on_ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM comes, then answer what has been asked, for at most 30 seconds.

    Call it in the main thread: another one cannot receive signals.
    """
    config = uvicorn.Config(
        create_app(service),
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    server = _Server(config, service, on_ready)
    server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """Tells when it is ready, and returns after a signal instead of raising it again."""

    def __init__(self, config: uvicorn.Config, service: Service, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._service = service
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept connections."""
        await super().startup(sockets)
        self._on_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal; on a second one without finishing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def stop(number: int, frame: object) -> None:
            self.force_exit = self.should_exit
            self.should_exit = self._service.stopping = True

        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Protocol(H11Protocol):
    """Closes a connection whose first request does not begin in time: uvicorn waits for ever."""

    def connection_made(self, transport: object) -> None:
        """Start the clock."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self.loop.call_later(_HEAD_SECONDS, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()
