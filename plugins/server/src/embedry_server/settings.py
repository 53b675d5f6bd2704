"""The settings of a server, with their defaults."""

from dataclasses import dataclass
from typing import Literal

from embedry import OptionError

LogFormat = Literal["plain", "json"]

UnnamedRole = Literal["query", "document", "unprompted"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request may ask for, and how much may wait.

    Raises:
        OptionError: a limit is not positive, or the queue could not hold one request.
    """

    inputs: int = 2048
    """Texts a request, as OpenAI's API."""
    tokens: int = 300_000
    """Tokens a request, as OpenAI's API."""
    body_bytes: int = 16 * 2**20
    """Bytes of a request's body."""
    queue_tokens: int = 1_000_000
    """Tokens of all requests that were accepted and are not answered."""
    deadline: float = 60.0
    """Seconds from the end of a request to its answer."""
    receive: float = 30.0
    """Seconds in which a request must have arrived, and in which a client must take what was sent to it."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise OptionError(f"the limit {name} must be positive, got {value}")
        if self.queue_tokens < self.tokens:
            raise OptionError(
                f"the queue holds {self.queue_tokens} tokens, fewer than the {self.tokens} that one request may have; raise "
                "queue_tokens or lower tokens"
            )
