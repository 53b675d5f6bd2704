"""Runs the application: the socket, the signals, and a graceful shutdown."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any, cast

import uvicorn

from embedry_server import logs
from embedry_server.app import App
from embedry_server.connections import Connection
from embedry_server.listening import last_connections
from embedry_server.settings import Limits

_KEEP_ALIVE = 75
"""Seconds that an idle connection stays open: longer than proxies keep theirs, or they would send into a closing one."""

_LAST_REQUESTS = 0.5
"""Seconds in which an idle connection may still send a request after the server stopped listening."""

_LATEST_REQUESTS = 5.0
"""Seconds after which the server no longer waits for new connections to send their first request."""


@dataclass(frozen=True, kw_only=True)
class Address:
    """The address and certificate of a server."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None

    @property
    def url(self) -> str:
        """The address as a URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.certificate else ''}://{host}:{self.port}"


def serve(app: App, listening: socket.socket, address: Address, limits: Limits, *, drain: float) -> None:
    """Serves until a signal arrives, and loads the models meanwhile. Returns when all accepted requests are answered.

    Raises:
        EmbedryError: a model cannot be loaded.
    """
    _allow_many_files()
    config = uvicorn.Config(
        app,
        http=partial(Connection, receive=limits.receive),  # type: ignore[arg-type]
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        ssl_certfile=address.certificate,
        ssl_keyfile=address.key,
    )
    server = _Server(config, app, drain)
    with server.signals():
        threading.Thread(target=server.load, args=(address,), name="embedry-load", daemon=True).start()
        server.run(sockets=[listening])
    if server.failure is not None:
        raise server.failure


class _Server(uvicorn.Server):
    """uvicorn with a two-step shutdown: first it keeps serving but is not ready, then it stops accepting and finishes the rest."""

    def __init__(self, config: uvicorn.Config, app: App, drain: float) -> None:
        super().__init__(config)
        self.failure: Exception | None = None
        self._app = app
        self._drain = drain
        self._end: float | None = None

    def load(self, address: Address) -> None:
        try:
            self._app.load()
        except Exception as error:  # re-raised by the serving thread
            self.failure = error
            self.should_exit = True
        else:
            logs.logger.info("ready: %s", address.url)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Handles signals from now on, also while models are loaded."""
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Does nothing: `signals` handles them, and the process exits with 0."""
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal starts the shutdown; a second one ends the process at once."""
        if self._end is not None:
            os._exit(128 + sig)
        self._app.readiness.is_draining = True
        self._end = monotonic() + (self._drain if sig == signal.SIGTERM else 0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accepts the connections made so far and lets them send their requests before it closes them."""
        loop = asyncio.get_running_loop()
        for listening in sockets or ():
            for connection in last_connections(listening):
                await loop.connect_accepted_socket(self._protocol, connection, ssl=self.config.ssl)
        await asyncio.sleep(
            0
        )  # asyncio drops what it has accepted itself, but not yet set up, if its server is closed before
        for server in self.servers:
            server.close()
        latest = monotonic() + _LATEST_REQUESTS
        await asyncio.sleep(_LAST_REQUESTS)
        while monotonic() < latest and any(connection.is_receiving for connection in self._connections()):
            await asyncio.sleep(0.05)
        await super().shutdown(sockets)

    def _connections(self) -> list[Connection]:
        return cast("list[Connection]", list(self.server_state.connections))

    def _protocol(self) -> asyncio.Protocol:
        make = cast("Any", self.config.http_protocol_class)
        return cast(
            "asyncio.Protocol", make(config=self.config, server_state=self.server_state, app_state={}, _loop=None)
        )

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; True stops accepting."""
        over = self._end is not None and monotonic() >= self._end
        return await super().on_tick(counter) or over


def _allow_many_files() -> None:
    """Raises the soft limit of open files, 1,024 on many systems, to the hard limit: each connection uses one."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
