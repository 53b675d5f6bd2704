"""The settings of a server, with their defaults."""

from dataclasses import dataclass
from typing import Literal

from embedry import OptionError

LogFormat = Literal["plain", "json"]

UnnamedRole = Literal["query", "document", "unprompted"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits for one request and for the queue.

    Raises:
        OptionError: a limit is not positive, or the queue is too small for one request.
    """

    inputs: int = 2048
    """Maximum number of texts per request, as in OpenAI's API."""
    tokens: int = 300_000
    """Maximum number of tokens per request, as in OpenAI's API."""
    body_bytes: int = 16 * 2**20
    """Maximum size of a request body in bytes."""
    queue_tokens: int = 1_000_000
    """Maximum number of tokens of all accepted requests that are not answered yet."""
    deadline: float = 60.0
    """Maximum seconds from the end of a request to its response."""
    receive: float = 30.0
    """Timeout in seconds for receiving a request, and for the client to receive a response."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise OptionError(f"the limit {name} must be positive, got {value}")
        if self.queue_tokens < self.tokens:
            raise OptionError(
                f"the queue holds {self.queue_tokens} tokens, fewer than the {self.tokens} that one request may have; raise "
                "queue_tokens or lower tokens"
            )
