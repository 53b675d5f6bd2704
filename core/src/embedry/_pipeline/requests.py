"""Requests that callers pass to the scheduler of an engine, with blocks of batches."""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from embedry.errors import EncodeTimeoutError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Rows = Sequence[tuple["NDArray[np.intp]", Sequence[Any]]]
"""For each batch the positions of its texts in the block, and what the engine takes for each text."""


class CancelledError(Exception):
    """The caller of this request has gone."""


class Request(AbstractContextManager["Request"]):
    """One call or one stream, computed in order. Leaving its `with` block by an exception cancels it."""

    def __init__(self, timeout: float | None = None, advance: Callable[[int], object] | None = None) -> None:
        self.todo: deque[Batch] = deque()
        self.share = 0.0  # tokens computed of it, on the scheduler's clock
        self.begun: float | None = None  # when its first batch was begun, by perf_counter
        self.is_cancelled = False
        self.submit: Callable[[Block], None] | None = None  # where its blocks went
        self.advance = advance  # called by workers with how many results are there; it must not raise
        self._timeout = timeout
        self._deadline = None if timeout is None else monotonic() + timeout

    def remaining(self) -> float:
        """Seconds until its deadline, -1 without one. Raises EncodeTimeoutError after it, CancelledError if cancelled."""
        if self.is_cancelled:
            raise CancelledError
        if self._deadline is None:
            return -1
        seconds = self._deadline - monotonic()
        if seconds <= 0:
            raise EncodeTimeoutError(f"the texts were not encoded within timeout={self._timeout} seconds")
        return seconds

    def cancel(self) -> None:
        """Drops what is not being computed yet. From any thread."""
        self.is_cancelled = True
        if self.submit is not None:
            self.submit(Block(self, (), lambda *_: None))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.cancel()


class Block:
    """Batches that a caller waits for together.

    `finish` takes the positions of a batch and the engine's result for it. `when_done`, if given, is called by a worker when
    all is computed or something has failed, for a caller that does not `wait`; it must not raise.
    """

    def __init__(
        self,
        request: Request,
        batches: Rows,
        finish: Callable[["NDArray[np.intp]", Any], None],
        when_done: Callable[[], object] | None = None,
    ) -> None:
        self.request = request
        self.batches = [Batch.of(self, positions, rows) for positions, rows in batches]
        self.finish = finish
        self.when_done = when_done
        self.failure: tuple[Batch, BaseException] | None = None
        self._left = len(batches)
        self._done = Lock()
        self._done.acquire()

    def take(self) -> "list[Batch]":
        """Its batches, once: they refer to it, and a circle would keep texts and vectors in memory."""
        batches, self.batches = self.batches, []
        return batches

    def settle(self, batch: "Batch", error: BaseException | None) -> None:
        """Notes how a batch ended; called once for each, by one thread at a time."""
        if error is not None and self.failure is None:
            self.failure = batch, error
        self._left -= 1
        if self._left == 0:
            self._done.release()
            if self.when_done is not None:
                self.when_done()

    @property
    def is_done(self) -> bool:
        """Whether all is computed, or something has failed; at once where there is nothing to compute."""
        return self._left == 0

    def wait(self) -> None:
        """Returns when all is computed, or something has failed. Raises as `Request.remaining`."""
        if self._left and not self._done.acquire(timeout=self.request.remaining()):
            self.request.remaining()


class Batch(NamedTuple):
    """Texts that are computed together, see `Rows`."""

    block: Block
    positions: "NDArray[np.intp]"
    rows: Sequence[Any]
    longest: int
    tokens: int

    @classmethod
    def of(cls, block: Block, positions: "NDArray[np.intp]", rows: Sequence[Any]) -> "Batch":
        """A batch with the lengths of its rows."""
        lengths = [len(row) for row in rows]
        return cls(block, positions, rows, max(lengths), sum(lengths))
