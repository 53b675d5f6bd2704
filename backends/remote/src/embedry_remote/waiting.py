"""Delays before retries."""

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_WAIT = 0.25
"""Seconds before the second try, at most; each later wait is twice as long."""


def seconds_before(attempt: int, asked: float | None) -> float:
    """Seconds to wait before try number `attempt`, from 2, with jitter so that clients do not retry simultaneously.

    Args:
        attempt: the number of the try.
        asked: the minimum delay that the server requested in seconds; None without one.
    """
    longest = FIRST_WAIT * 2.0 ** (attempt - 2)
    jitter = random.uniform(0.5, 1.0)  # noqa: S311  no secret depends on it
    return longest * jitter if asked is None else asked + FIRST_WAIT * jitter


def retry_after(header: str | None) -> float | None:
    """The seconds in a Retry-After header (RFC 9110, 10.2.3), a number or a date; None if invalid."""
    if header is None:
        return None
    try:
        if header.strip().isdecimal():
            return float(header)
        date = parsedate_to_datetime(header)
    except ValueError:
        return None
    date = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())
