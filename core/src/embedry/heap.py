"""What the C library keeps of memory that was freed: batches of ever other sizes leave holes in it, and it grows."""

import ctypes
import sys
from itertools import count

_BATCHES = 32
"""Measured with torch on a CPU: without it memory grows for half an hour and longer, by a hundred megabytes and more; at
every 32nd batch (0.1 to 5 ms for 2 to 4 seconds of work) it takes no time that can be told."""


class Trimmed:
    """Call it after each batch: now and then it has glibc return free memory to the system (malloc_trim(3)).

    Elsewhere the C library does so by itself, and a call does nothing.
    """

    def __init__(self) -> None:
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._trim = getattr(library, "malloc_trim", None)
        self._batches = count(1)

    def __call__(self) -> None:
        """One more batch was computed."""
        if next(self._batches) % _BATCHES == 0 and self._trim is not None:
            self._trim(0)
