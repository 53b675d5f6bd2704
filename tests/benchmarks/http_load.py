"""A client that asks a server over HTTP. It runs beside the server on the same machine, so it does little while time is
measured: an answer is kept as it came, and read after the timed part.
"""

import asyncio
import base64
import itertools
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LOST = 0
"""The status of a request that was not answered."""

LONGEST = 120.0
"""Seconds after which an answer is given up."""

_PAUSE = 0.1
"""Seconds before the next request, where the last one was lost: the server may be gone."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """What came back for a request."""

    number: int
    """Of the request."""
    sent: float
    received: float
    """Both in seconds of `time.perf_counter`."""
    status: int
    head: bytes
    """The status line and the headers."""
    body: bytes

    @property
    def seconds(self) -> float:
        """From sending the request to the last byte of the answer."""
        return self.received - self.sent

    def header(self, name: str) -> str | None:
        """A header's value."""
        found = re.search(rf"\r\n{name}: *([^\r]*)".encode(), self.head, re.IGNORECASE)
        return found[1].decode() if found else None


def request(path: str, model: str, texts: str | Sequence[str], encoding_format: str = "base64") -> bytes:
    """A request for vectors, in base64 as OpenAI's own client asks for them."""
    return post(path, json.dumps({"model": model, "input": texts, "encoding_format": encoding_format}).encode())


def post(path: str, body: bytes) -> bytes:
    """A request with a body of JSON."""
    lines = [
        f"POST {path} HTTP/1.1",
        "host: 127.0.0.1",
        "content-type: application/json",
        f"content-length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Connection(asyncio.Protocol):
    """A connection that has one request at a time under way, and is kept open."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[tuple[float, bytes, bytes]] | None = None
        self._chunks: list[bytes] = []
        self._missing: int | None = None
        """Bytes of the answer that have not come; None before its headers are here."""

    @classmethod
    async def open(cls, port: int) -> "Connection":
        """A connection to a server on this machine. Raises OSError."""
        _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        return connection

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, number: int, request: bytes) -> Answer:
        """The answer. Raises ConnectionError if the server closes the connection before, TimeoutError if it never comes."""
        if self._transport is None or not self.is_open:
            raise ConnectionResetError("the server has closed the connection")
        self._waiting = asyncio.get_running_loop().create_future()
        self._chunks, self._missing = [], None
        sent = time.perf_counter()
        self._transport.write(request)
        async with asyncio.timeout(LONGEST):
            received, head, body = await self._waiting
        return Answer(number, sent, received, int(head[9:12]), head, body)

    def close(self) -> None:
        """Leaves, whether or not an answer is under way."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._chunks.append(data)
        if self._missing is None:
            so_far = b"".join(self._chunks)
            end = so_far.find(b"\r\n\r\n")
            if end < 0:
                return
            length = _LENGTH.search(so_far, 0, end)
            if length is None:
                raise ValueError(f"an answer without a content-length: {so_far[:200]!r}")
            self._missing = end + 4 + int(length[1]) - len(so_far)
        else:
            self._missing -= len(data)
        if self._missing == 0 and self._waiting is not None and not self._waiting.done():
            head, _, body = b"".join(self._chunks).partition(b"\r\n\r\n")
            self._waiting.set_result((time.perf_counter(), head, body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionResetError("the server closed the connection without an answer"))


class Caller:
    """Asks one request after the other, and connects again where the server has closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: Connection | None = None

    async def ask(self, number: int, request: bytes) -> Answer:
        """The answer; one with the status `LOST` if there is none."""
        sent = time.perf_counter()
        try:
            if self._connection is None or not self._connection.is_open:
                self._connection = await Connection.open(self._port)
            return await self._connection.ask(number, request)
        except (OSError, TimeoutError):
            self.close()
            await asyncio.sleep(_PAUSE)
            return Answer(number, sent, time.perf_counter(), LOST, b"", b"")

    def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.close()


async def closed_loops(
    port: int,
    requests: Sequence[bytes],
    connections: int,
    seconds: float,
    *,
    pause: Callable[[Answer], float] = lambda answer: 0.0,
) -> list[Answer]:
    """The answers to connections that each send another request as soon as they have an answer, for so many seconds.

    `pause` gives the seconds to wait after an answer. The requests are taken in turn, and begin again when there are no more. What was sent is waited for.
    """
    numbers = itertools.cycle(range(len(requests)))
    end = time.perf_counter() + seconds
    answers: list[Answer] = []

    async def run() -> None:
        caller = Caller(port)
        while time.perf_counter() < end:
            number = next(numbers)
            answer = await caller.ask(number, requests[number])
            answers.append(answer)
            if wait := pause(answer):
                await asyncio.sleep(wait)
        caller.close()

    await asyncio.gather(*(run() for _ in range(connections)))
    return answers


def vectors_in(body: bytes) -> NDArray[np.float32]:
    """The vectors of an answer, in their order. Raises ValueError, KeyError or TypeError if it is none."""
    rows = [each["embedding"] for each in json.loads(body)["data"]]
    if isinstance(rows[0], str):
        rows = [np.frombuffer(base64.b64decode(row), dtype="<f4") for row in rows]
    return np.array(rows, dtype=np.float32)


def is_right(answer: Answer, expected: NDArray[np.float32], tolerance: float) -> bool:
    """Whether an answer has these vectors; no component may differ by more than the tolerance."""
    if answer.status != 200:
        return False
    try:
        found = vectors_in(answer.body)
    except (ValueError, KeyError, TypeError, IndexError):
        return False
    return found.shape == expected.shape and bool(np.abs(found - expected).max() <= tolerance)
