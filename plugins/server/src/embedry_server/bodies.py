"""Receives request bodies within a memory limit."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect, Request

from embedry_server.errors import ApiError, ClientGoneError

_AT_A_TIME = 8
"""Bodies of the largest size that are held together, while they arrive or wait to be read."""


class Bodies:
    """Receives bodies of up to `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0

    @asynccontextmanager
    async def received(self, request: Request) -> AsyncIterator[bytes]:
        """The body of a request.

        Raises:
            ApiError: the body is too large or compressed, or too many others are being received.
            ClientGoneError: the client disconnected or took too long.
        """
        if request.headers.get("content-encoding", "identity") != "identity":
            raise ApiError(
                415, "compressed bodies are not accepted; send JSON without content-encoding", headers=_CLOSE
            )
        stated = request.headers.get("content-length", "")
        if stated.isascii() and stated.isdigit() and int(stated) > self._limit:
            raise self._too_large()
        body = bytearray()
        try:
            async for chunk in request.stream():
                self._held += len(chunk)
                body += chunk
                if len(body) > self._limit:
                    raise self._too_large()
                if self._held > _AT_A_TIME * self._limit:
                    raise ApiError(
                        429,
                        "too many large requests arrive at the same time; try again in 1 s",
                        code="too_many_bytes",
                        headers=_CLOSE | {"retry-after": "1"},
                    )
            yield bytes(body)
        except ClientDisconnect:
            raise ClientGoneError from None
        finally:
            self._held -= len(body)

    def _too_large(self) -> ApiError:
        return ApiError(
            413,
            f"the body has more than the {self._limit:,} bytes that a request may have; send fewer inputs per request",
            code="body_too_large",
            headers=_CLOSE,
        )


_CLOSE = {"connection": "close"}
"""Nothing more is read from a client whose body is refused."""
