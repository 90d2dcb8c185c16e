"""Run the application with uvicorn until it is asked to stop; then finish the open requests."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ...errors import ServingError
from .app import create_app
from .service import Service

_HEAD_SECONDS = 15.0  # time for a client to send the headers of a request
_IDLE_SECONDS = 15  # time that a connection may stay idle after a response
_SEND_SECONDS = 60.0  # time that a client may stop reading a response
_DRAIN_SECONDS = 30  # time to finish open requests when the server stops
_CONNECTIONS = 1024
_BACKLOG = 256


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Raises ServingError if the address is not available."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if number and number > 0 else str(error)
        raise ServingError(f"{host}:{port}: {reason}; choose another host or port") from None


def run(service: Service, listening: socket.socket, on_ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM arrives, then answer open requests, for at most 30 seconds."""
    create_server(service, on_ready).run(sockets=[listening])


def create_server(service: Service, on_ready: Callable[[], None] = lambda: None) -> uvicorn.Server:
    """Return a server to be run; in another thread than the main one it stops when its `should_exit` is set."""
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
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    return _Server(config, service, on_ready)


class _Server(uvicorn.Server):
    """Calls `on_ready` once it accepts connections, and returns after a signal instead of raising it again."""

    def __init__(self, config: uvicorn.Config, service: Service, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._service = service
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting connections."""
        await super().startup(sockets)
        self._on_ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Finish open requests and stop on a signal; stop at once on a second one."""
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
    """Closes a connection whose client does not finish the headers of a request, or stops reading."""

    _clock: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock, and send responses without delay."""
        super().connection_made(transport)  # type: ignore[arg-type]
        # asyncio sets this only for sockets created with a protocol number. Without it, the body of a response waits
        # 40 ms until the client has acknowledged the headers.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._clock = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

    def data_received(self, data: bytes) -> None:
        """Stop the clock when the headers are complete, and start it with the next request."""
        super().data_received(data)
        begun = self.conn.their_state is not h11.IDLE
        if begun and self._clock is not None:
            self._clock.cancel()
            self._clock = None
        elif not begun and self._clock is None:
            self._clock = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

    def pause_writing(self) -> None:
        """Start a clock when the client stops reading."""
        super().pause_writing()
        self._stalled = self.loop.call_later(_SEND_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Stop it when the client reads again."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clocks."""
        for clock in (self._clock, self._stalled):
            if clock is not None:
                clock.cancel()
        super().connection_lost(exc)
