"""The logger `embedry`: where files came from, what was built, and how long loading took. Silent unless logging is set up."""

from time import perf_counter


def info(message: str, *values: object) -> None:
    """Logs a message with %-style values at the level INFO."""
    from logging import getLogger  # not for those who only import the package

    getLogger("embedry").info(message, *values)


class Stopwatch:
    """Seconds since it was made, as text: `f"{stopwatch}"` is "0.21 s"."""

    def __init__(self) -> None:
        self._start = perf_counter()

    def __str__(self) -> str:
        return f"{perf_counter() - self._start:.2f} s"
