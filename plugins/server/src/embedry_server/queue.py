"""How much work a server has accepted, and when it can take more."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from embedry_server.errors import ApiError

_REMEMBERED = 10.0
"""Seconds of work after which older measurements count half."""

_LONGEST_WAIT = 60
"""Seconds that a client is asked to wait at most."""


class Queue:
    """Requests that were accepted and are not answered yet, counted in tokens. Used by the event loop's thread alone."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.tokens = 0
        self._accepted: dict[int, float] = {}  # in the order in which they came
        self._next = 0
        self._computed = 0.0
        self._busy_seconds = 0.0
        self._busy_since: float | None = None

    @property
    def tokens_per_second(self) -> float | None:
        """Measured while there was work; None before anything was computed."""
        return self._computed / self._busy_seconds if self._computed and self._busy_seconds else None

    @property
    def in_flight(self) -> int:
        """Requests that were accepted and are not answered yet."""
        return len(self._accepted)

    @property
    def oldest_seconds(self) -> float:
        """How long the oldest request has been here; 0 without any."""
        return monotonic() - next(iter(self._accepted.values())) if self._accepted else 0.0

    def check(self, tokens: int = 1) -> None:
        """Raises ApiError, status 429, if so many tokens have no room. It says when to come again."""
        over = self.tokens + tokens - self.limit
        if over <= 0:
            return
        wait = over / self.tokens_per_second if self.tokens_per_second else 1.0
        seconds = min(_LONGEST_WAIT, math.ceil(wait))
        raise ApiError(
            429,
            f"the server has {self.tokens:,} tokens of other requests to compute, and takes {self.limit:,}; try again in {seconds} s",
            code="queue_full",
            headers={"retry-after": str(seconds)},
        )

    @contextmanager
    def accepted(self, tokens: int) -> Iterator[None]:
        """A request of so many tokens, from its acceptance to its answer.

        Raises:
            ApiError: it has no room, status 429.
        """
        self.check(tokens)
        number, self._next = self._next, self._next + 1
        self._accepted[number] = monotonic()
        self._measure(0)
        self.tokens += tokens
        computed = 0
        try:
            yield
            computed = tokens
        finally:
            self._measure(computed)
            self.tokens -= tokens
            del self._accepted[number]

    def _measure(self, computed: int) -> None:
        now = monotonic()
        if self._busy_since is not None and self.tokens:
            self._busy_seconds += now - self._busy_since
        self._busy_since = now
        self._computed += computed
        if self._busy_seconds > _REMEMBERED:
            self._busy_seconds /= 2
            self._computed /= 2
