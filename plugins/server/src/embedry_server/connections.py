"""Connections with timeouts for sending and receiving. uvicorn alone would wait indefinitely."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MOST_HEADER_BYTES = 64 * 2**10

_LATE = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Connection(HttpToolsProtocol):
    """A connection that closes unless each request arrives, and each response is received, within `receive` seconds.

    The deadline is absolute: sending a byte now and then does not extend it.
    """

    def __init__(self, *args: Any, receive: float, **options: Any) -> None:
        super().__init__(*args, **options)
        self._seconds = receive
        self._arriving: asyncio.TimerHandle | None = None
        self._leaving: asyncio.TimerHandle | None = None
        self._header_bytes = 0

    @property
    def is_receiving(self) -> bool:
        """Whether a request is arriving, or the first one is still expected."""
        return self._arriving is not None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client disconnected."""
        self._expect_no_more()
        self.resume_writing()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._header_bytes = 0
        if self._arriving is None:  # the first request is expected from the moment of connection
            self._expect()

    def on_url(self, url: bytes) -> None:
        """A part of the request line."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header."""
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._expect_no_more()
        super().on_message_complete()

    def pause_writing(self) -> None:
        """The client receives the response more slowly than it is sent."""
        super().pause_writing()
        self._leaving = self.loop.call_later(self._seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has received what was sent."""
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        super().resume_writing()

    def _expect(self) -> None:
        self._arriving = self.loop.call_later(self._seconds, self._end, _LATE)

    def _expect_no_more(self) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _MOST_HEADER_BYTES:
            self._end(_LARGE)

    def _end(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
                self.transport.write(answer)
            self.transport.close()
