"""Logs the progress of long commands if stderr is not a terminal. Terminals show bars and spinners instead."""

import sys
import time
from collections.abc import Callable

from embedry_cli import terminal

_SECONDS = 10
"""Minimum interval between two lines about the same stage."""


def notes() -> Callable[[str], None]:
    """Returns a function that logs a stage, `"writing"`, or its progress, `"projecting: 40%"`, unless stderr is a terminal."""
    shown = ""
    latest = 0.0

    def note(text: str) -> None:
        nonlocal shown, latest
        stage = text.partition(":")[0]
        if not sys.stderr.isatty() and (stage != shown or time.monotonic() - latest >= _SECONDS):
            terminal.note(text)
            shown, latest = stage, time.monotonic()

    return note
