"""The routes of a server as data, for Starlette and for the OpenAPI document."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

Handler = Callable[[Request], Awaitable[Response]]

ANSWERED = {
    "x-request-id": "The id of the request, or a new one.",
}
COMPUTED = {
    "embedry-role": "The role that was used for the texts or the query.",
    "embedry-space": "The fingerprint of the vector space; for a reranker, of its scores.",
    "embedry-truncated": "The positions of inputs longer than the model's limit; absent if there are none.",
    "server-timing": "Milliseconds of parsing, queueing and computing.",
}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """A route."""

    method: str
    path: str
    handler: Handler
    tag: str
    summary: str
    answer: Any = None
    """The type of the answer in JSON; None for text, whose kind `media_type` says."""
    request: Any = None
    """The type of the request's body in JSON."""
    media_type: str = "application/json"
    errors: Mapping[int, str] = field(default_factory=dict)
    is_open: bool = False
    """Whether it needs no key."""
    is_tei: bool = False
    """Whether its errors are in the words of text-embeddings-inference."""
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
