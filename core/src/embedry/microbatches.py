"""Questions that several threads ask at the same time are computed in batches, and none waits for a timer."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock

import numpy as np
from numpy.typing import NDArray

from embedry.errors import BackendError

Row = NDArray[np.int32]
Compute = Callable[[Sequence[Row]], NDArray[np.float32]]

_PADDING = 1.2
"""How much longer padding may make a batch of questions. More costs what computing them together saves."""


class Ask:
    """What a waiting thread asks for: its rows of token ids, and then their vectors or what went wrong."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.longest = max(len(row) for row in rows)
        self.tokens = sum(len(row) for row in rows)
        self.leads = False
        self.woken = Event()
        self.vectors: NDArray[np.float32] | None = None
        self.error: Exception | None = None

    def result(self) -> NDArray[np.float32]:
        """The vectors, or the error raised."""
        if self.vectors is None:
            raise self.error or RuntimeError("not computed yet")
        return self.vectors


class MicroBatches:
    """As many batches at a time as there are places. Who finds one free computes what it asks; the others wait for one.

    A question that nobody else asks beside is computed at once, by its own thread and whatever threads the engine adds.
    Where several are asked, each batch has a worker to itself. When a batch is done its place goes to the first who waits,
    which then computes what it asks together with others of like length.
    """

    def __init__(self, compute: Compute, workers: ThreadPoolExecutor, *, places: int, tokens: int) -> None:
        self._compute = compute
        self._workers = workers
        self._free = places
        self._places = places
        self._tokens = tokens
        self._waiting: list[Ask] = []
        self._lock = Lock()

    def vectors(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """Pooled vectors of the rows, in their order; raises what `compute` raises for them."""
        with self._lock:
            free = self._free
            if free:
                self._free -= 1
            else:
                ask = Ask(rows)
                self._waiting.append(ask)
        if free:  # and so nobody waits who could go along
            try:
                return self._compute(rows) if free == self._places else self._compute_beside(rows)
            finally:
                self._give_place()
        self._wait(ask)
        if ask.leads:
            self._lead(ask)
        return ask.result()

    def _compute_beside(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        return self._workers.submit(self._compute, rows).result()

    def _wait(self, ask: Ask) -> None:
        """Until it is answered, or given a place."""
        try:
            ask.woken.wait()
        except BaseException:  # an interrupt
            with self._lock:
                if ask in self._waiting:
                    self._waiting.remove(ask)
            if ask.leads:
                self._give_place()
            raise

    def _lead(self, ask: Ask) -> None:
        batch = [ask]
        try:
            self._join(batch)
            _answer(batch, self._compute_beside)
        except BaseException:  # an interrupt is this thread's own; the others' questions are asked again
            with self._lock:
                unanswered = [other for other in batch[1:] if other.vectors is None and other.error is None]
                batch = [other for other in batch if other not in unanswered]
                self._waiting[:0] = [other for other in unanswered if other not in self._waiting]
            raise
        finally:
            for other in batch:
                other.woken.set()
            self._give_place()

    def _join(self, batch: list[Ask]) -> None:
        """Adds who of the waiting goes along, first come first: within the token budget, and without much padding."""
        longest, rows, tokens = batch[0].longest, len(batch[0].rows), batch[0].tokens
        with self._lock:
            for other in tuple(self._waiting):
                padded = max(longest, other.longest) * (rows + len(other.rows))
                if padded <= self._tokens and padded <= _PADDING * (tokens + other.tokens):
                    longest, rows, tokens = max(longest, other.longest), rows + len(other.rows), tokens + other.tokens
                    batch.append(other)
                    self._waiting.remove(other)

    def _give_place(self) -> None:
        with self._lock:
            if self._waiting:
                following = self._waiting.pop(0)
                following.leads = True
                following.woken.set()
            else:
                self._free += 1


def _answer(batch: Sequence[Ask], compute: Compute) -> None:
    rows = [row for ask in batch for row in ask.rows]
    try:
        vectors = compute(rows)
        if len(batch) > 1 and len(vectors) != len(rows):
            raise BackendError(f"the backend returned {len(vectors)} vectors for {len(rows)} texts")
    except Exception as error:
        if len(batch) == 1:
            batch[0].error = error
            return
        for ask in batch:  # one that cannot be computed fails alone
            _answer([ask], compute)
        return
    if len(batch) == 1:
        batch[0].vectors = vectors  # as they came; the road looks at their shape
        return
    start = 0
    for ask in batch:
        ask.vectors = vectors[start : start + len(ask.rows)]
        start += len(ask.rows)
