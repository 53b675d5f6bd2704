"""Single requests that several threads make at the same time are computed in batches, and none waits for a timer."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Lock

import numpy as np
from numpy.typing import NDArray

from embedry.errors import BackendError

Row = NDArray[np.int32]
Compute = Callable[[Sequence[Row]], NDArray[np.float32]]

_PADDING = 1.2
"""How much longer padding may make a batch of requests. More costs what computing them together saves."""


class Request:
    """What a waiting thread wants computed: its rows of token ids, and then their vectors or what went wrong."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.longest = max(len(row) for row in rows)
        self.tokens = sum(len(row) for row in rows)
        self.has_slot = False
        self.done = Event()
        self.vectors: NDArray[np.float32] | None = None
        self.error: Exception | None = None

    def result(self) -> NDArray[np.float32]:
        """The vectors, or the error raised."""
        if self.vectors is None:
            raise self.error or RuntimeError("not computed yet")
        return self.vectors


class MicroBatches:
    """As many batches at a time as there are slots. A request that finds one free is computed; the others wait.

    A single request runs immediately on the calling thread and on whatever threads the engine adds. Of several, each batch
    has a worker to itself. When a batch is done its slot goes to the first request that waits, which is then computed
    together with others of similar length.
    """

    def __init__(self, compute: Compute, workers: ThreadPoolExecutor, *, slots: int, tokens: int) -> None:
        self._compute = compute
        self._workers = workers
        self._free = slots
        self._slots = slots
        self._tokens = tokens
        self._waiting: list[Request] = []
        self._lock = Lock()

    def vectors(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """Pooled vectors of the rows, in their order; raises what `compute` raises for them."""
        with self._lock:
            free = self._free
            if free:
                self._free -= 1
            else:
                request = Request(rows)
                self._waiting.append(request)
        if free:  # and so nobody waits who could go along
            try:
                return self._compute(rows) if free == self._slots else self._compute_in_worker(rows)
            finally:
                self._release_slot()
        self._wait(request)
        if request.has_slot:
            self._compute_merged(request)
        return request.result()

    def _compute_in_worker(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        return self._workers.submit(self._compute, rows).result()

    def _wait(self, request: Request) -> None:
        """Waits until it is computed, or given a slot."""
        try:
            request.done.wait()
        except BaseException:  # an interrupt
            with self._lock:
                if request in self._waiting:
                    self._waiting.remove(request)
            if request.has_slot:
                self._release_slot()
            raise

    def _compute_merged(self, request: Request) -> None:
        batch = [request]
        try:
            self._merge(batch)
            _answer(batch, self._compute_in_worker)
        except BaseException:  # an interrupt is this thread's own; the others' requests wait again
            with self._lock:
                unanswered = [other for other in batch[1:] if other.vectors is None and other.error is None]
                batch = [other for other in batch if other not in unanswered]
                self._waiting[:0] = [other for other in unanswered if other not in self._waiting]
            raise
        finally:
            for other in batch:
                other.done.set()
            self._release_slot()

    def _merge(self, batch: list[Request]) -> None:
        """Adds who of the waiting goes along, first come first: within the token budget, and without much padding."""
        longest, rows, tokens = batch[0].longest, len(batch[0].rows), batch[0].tokens
        with self._lock:
            for other in tuple(self._waiting):
                padded = max(longest, other.longest) * (rows + len(other.rows))
                if padded <= self._tokens and padded <= _PADDING * (tokens + other.tokens):
                    longest, rows, tokens = max(longest, other.longest), rows + len(other.rows), tokens + other.tokens
                    batch.append(other)
                    self._waiting.remove(other)

    def _release_slot(self) -> None:
        with self._lock:
            if self._waiting:
                following = self._waiting.pop(0)
                following.has_slot = True
                following.done.set()
            else:
                self._free += 1


def _answer(batch: Sequence[Request], compute: Compute) -> None:
    rows = [row for request in batch for row in request.rows]
    try:
        vectors = compute(rows)
        if len(batch) > 1 and len(vectors) != len(rows):
            raise BackendError(f"the backend returned {len(vectors)} vectors for {len(rows)} texts")
    except Exception as error:
        if len(batch) == 1:
            batch[0].error = error
            return
        for request in batch:  # one that cannot be computed fails alone
            _answer([request], compute)
        return
    if len(batch) == 1:
        batch[0].vectors = vectors  # as they came; the pipeline looks at their shape
        return
    start = 0
    for request in batch:
        request.vectors = vectors[start : start + len(request.rows)]
        start += len(request.rows)
