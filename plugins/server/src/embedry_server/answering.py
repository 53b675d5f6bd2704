"""Handles a request that computes: receives and parses the body, computes the results, writes the response."""

from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from embedry_server import answers
from embedry_server.bodies import Bodies
from embedry_server.computing import Computing, Read
from embedry_server.errors import ApiError
from embedry_server.observing import Observed
from embedry_server.readiness import Readiness


class Asked(NamedTuple):
    """A parsed request, and how to answer it."""

    read: Read
    write: Callable[[Any], bytes]
    """From its results to the body of its answer."""
    repeated: int = 0
    """Characters of its texts that the answer has as well."""


class Answering:
    """The base class of handlers of such requests."""

    def __init__(self, computing: Computing, readiness: Readiness) -> None:
        self._computing = computing
        self._readiness = readiness
        self._bodies = Bodies(computing.limits.body_bytes)

    async def answer(self, request: Request, read: Callable[[bytes], Asked]) -> Response:
        """Reads the body of a request and returns the response.

        Raises:
            ApiError: the request is rejected or fails.
            ClientGoneError: the client disconnected.
        """
        computing = self._computing
        self._readiness.check_open()
        computing.queue.check()
        async with self._bodies.received(request) as body:
            begun = perf_counter()
            asked = await computing.off_loop(len(body), partial(read, body))
        seconds = perf_counter() - begun
        observed: Observed = request.scope["embedry"]
        observed.read(asked.read)
        computed = await computing.compute(request, asked.read)
        observed.computed(computed)
        self._readiness.proven(asked.read.model)
        size = answers.size(computed.result) + asked.repeated
        content = await computing.off_loop(size, partial(asked.write, computed.result))
        return answers.Json(content, headers=answers.headers(asked.read, seconds, computed))

    async def answer_at_once(self, request: Request, answer: Callable[[bytes], Response]) -> Response:
        """The response to a request that needs no computation by a model."""
        self._readiness.check_open()
        async with self._bodies.received(request) as body:
            return await self._computing.off_loop(len(body), partial(answer, body))


def truncates(truncate: Any, direction: str | None = None) -> bool:
    """Whether the request asks to truncate longer texts. Raises ApiError if it asks to truncate them at the start."""
    if direction is not None and direction.lower() == "left":
        raise ApiError(
            400,
            f"truncation_direction={direction} is not supported: a text is cut at its end",
            param="truncation_direction",
        )
    if truncate == "START":
        raise ApiError(
            400, 'truncate="START" is not supported: a text is cut at its end; send "END" or "NONE"', param="truncate"
        )
    return truncate not in (False, "NONE")
