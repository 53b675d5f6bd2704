"""What a command that takes minutes is doing, for logs: a terminal has bars and spinners instead."""

import sys
import time
from collections.abc import Callable

from embedry_cli import terminal

_SECONDS = 10
"""Between two lines about one stage."""


def notes() -> Callable[[str], None]:
    """A function that writes a stage on stderr, `"writing"`, or how far it is, `"projecting: 40%"`, unless that is a terminal."""
    shown = ""
    latest = 0.0

    def note(text: str) -> None:
        nonlocal shown, latest
        stage = text.partition(":")[0]
        if not sys.stderr.isatty() and (stage != shown or time.monotonic() - latest >= _SECONDS):
            terminal.note(text)
            shown, latest = stage, time.monotonic()

    return note
