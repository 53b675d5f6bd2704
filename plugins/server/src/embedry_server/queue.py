"""The queue of accepted requests, with its limits."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from embedry_server.errors import ApiError

_BACKLOG = 2048
"""Tokens that keep all workers busy: with fewer, the rate would be that of single requests and not what the server can do."""

_REMEMBERED = 10.0
"""Seconds of work after which older measurements count half."""

_LONGEST_WAIT = 60
"""Seconds that a client is asked to wait at most."""


class Queue:
    """Accepted requests that are not answered yet, counted in tokens. Only used in the event loop's thread."""

    def __init__(self, limit: int, deadline: float) -> None:
        self.limit = limit
        self.tokens = 0
        self._deadline = deadline
        self._accepted: dict[int, tuple[float, int]] = {}  # time and number of tokens, in order of arrival
        self._next = 0
        self._computed = 0.0
        self._busy_seconds = 0.0
        self._measured = 0.0

    @property
    def tokens_per_second(self) -> float | None:
        """The throughput, measured under sufficient load; None before that."""
        return self._computed / self._busy_seconds if self._computed and self._busy_seconds else None

    @property
    def in_flight(self) -> int:
        """The number of accepted requests that are not answered yet."""
        return len(self._accepted)

    @property
    def oldest_seconds(self) -> float:
        """The age of the oldest request in seconds; 0 without requests."""
        return monotonic() - next(iter(self._accepted.values()))[0] if self._accepted else 0.0

    def check(self, tokens: int = 1) -> None:
        """Raises ApiError, status 429, with Retry-After if this many tokens exceed the queue or the deadline."""
        rate = self.tokens_per_second
        over = self.tokens + tokens - self.limit
        if over > 0:
            raise _refusal(over / rate if rate else 1.0, self.tokens)
        if self.tokens and rate and self.tokens + tokens > rate * self._deadline:
            # Requests share the workers equally: a small one waits for its own number of tokens of each other request.
            before = sum(min(tokens, others) for _, others in self._accepted.values())
            late = (before + tokens) / rate - self._deadline
            if late > 0:
                raise _refusal(late, self.tokens)

    @contextmanager
    def accepted(self, tokens: int) -> Iterator[None]:
        """A context for a request of this many tokens, from acceptance to response.

        Raises:
            ApiError: the queue is full, status 429.
        """
        self.check(tokens)
        number, self._next = self._next, self._next + 1
        self._accepted[number] = monotonic(), tokens
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
        if self.tokens >= _BACKLOG:
            self._busy_seconds += now - self._measured
            self._computed += computed
        self._measured = now
        if self._busy_seconds > _REMEMBERED:
            self._busy_seconds /= 2
            self._computed /= 2


def _refusal(wait: float, tokens: int) -> ApiError:
    seconds = min(_LONGEST_WAIT, max(1, math.ceil(wait)))
    return ApiError(
        429,
        f"the server has {tokens:,} tokens of other requests to compute first; try again in {seconds} s",
        code="queue_full",
        headers={"retry-after": str(seconds)},
    )
