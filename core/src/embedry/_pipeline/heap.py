"""Returns freed memory to the system: batches of different sizes fragment the heap of the C library, so it grows."""

import ctypes
import sys

_SECONDS = 1.0
"""Of work between two returns of memory. Measured: one takes 0.1 to 10 ms, mostly below one; without them a process with
torch grows for half an hour and longer, by a hundred megabytes and more (docs/performance.md)."""


class HeapTrimmer:
    """Call it after each batch: now and then it has glibc return free memory to the system (malloc_trim(3)).

    Elsewhere the C library does so by itself, and a call does nothing.
    """

    def __init__(self) -> None:
        library = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._trim = getattr(library, "malloc_trim", None)
        self._worked = 0.0

    def __call__(self, seconds: float) -> None:
        """One more batch was computed, in so many seconds."""
        self._worked += seconds
        if self._worked >= _SECONDS:
            self.trim()

    def trim(self) -> None:
        """Has it return free memory now."""
        self._worked = 0.0
        if self._trim is not None:
            self._trim(0)
