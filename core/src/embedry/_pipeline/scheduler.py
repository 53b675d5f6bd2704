"""Who computes what, and when: the requests of all callers take turns at the workers of an engine.

A caller puts its batches into a queue and waits: it takes no lock and owns nothing. Only workers keep the books, in threads
where no signal handler runs. So whatever interrupts a caller, wherever it does, no worker is lost and nobody waits for ever.
"""

import atexit
import os
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Lock, Thread
from time import monotonic, perf_counter, sleep
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from weakref import WeakSet, ref

from embedry._pipeline.heap import HeapTrimmer
from embedry.errors import BackendError, EncodeTimeoutError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedry._pipeline.readers import Reader

_PADDING = 1.2
"""How much longer padding may make a batch of several requests. More costs what computing them together saves."""


class CancelledError(Exception):
    """The caller of this request has gone."""


class Request:
    """One call or one stream, computed in order. Leaving its `with` block by an exception cancels it."""

    def __init__(self, timeout: float | None = None) -> None:
        self.todo: deque[Batch] = deque()
        self.was_served = False
        self.is_cancelled = False
        self.scheduler: Scheduler | None = None
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
        if self.scheduler is not None:
            self.scheduler.submit(Block(self, (), _nothing))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.cancel()


Finish = Callable[["NDArray[np.intp]", "NDArray[np.float32]"], None]


class Block:
    """Batches that a caller waits for together."""

    def __init__(
        self, request: Request, batches: "Sequence[tuple[NDArray[np.intp], Sequence[Any]]]", finish: Finish
    ) -> None:
        self.request = request
        self.batches = [Batch(self, positions, rows) for positions, rows in batches]
        """Until a worker takes them."""
        self.finish = finish
        """Takes the positions of a batch and the engine's result for it."""
        self.failure: tuple[Batch, BaseException] | None = None
        self._left = len(batches)
        self._done = Lock()
        self._done.acquire()

    def wait(self) -> None:
        """Returns when all is computed, or something has failed. Raises as `Request.remaining`."""
        if self._left and not self._done.acquire(timeout=self.request.remaining()):
            self.request.remaining()

    def take(self) -> "list[Batch]":
        """Its batches, which it then forgets: they refer to it, and a circle would keep texts and vectors in memory."""
        batches, self.batches = self.batches, []
        return batches

    def settle(self, batch: "Batch", error: BaseException | None) -> None:
        """Called by workers, under their lock, once for each batch."""
        if error is not None and self.failure is None:
            self.failure = batch, error
        self._left -= 1
        if self._left == 0:
            self._done.release()


class Batch(NamedTuple):
    """Texts that are computed together: their positions in the block, and what the engine takes for each."""

    block: Block
    positions: "NDArray[np.intp]"
    rows: Sequence[Any]


class Scheduler:
    """The workers of a loaded engine: daemon threads, where requests take turns, a batch at a time.

    Requests that were not served yet alternate with the others, and those of a single batch are computed together. A batch
    that nothing runs or waits beside is computed wide, on all threads of the engine.
    """

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader
        self._trim = HeapTrimmer()
        self._process = os.getpid()
        self._arrived: deque[Block] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()  # hints that something arrived: one too many does no harm
        self._lock = Lock()  # taken by workers alone; it guards what follows, and all requests
        self._fresh: deque[Request] = deque()
        self._served: deque[Request] = deque()
        self._lane = self._served
        self._running = 0
        self._alone: Callable[[], Block | None] = _nobody
        """What a caller computes itself: a weak reference, which tells others what to expect and is nothing to give back."""
        self._stopped = False
        self._threads = [Thread(target=self._work, name="embedry-worker", daemon=True) for _ in range(reader.workers)]
        try:
            for thread in self._threads:
                thread.start()
        except BaseException:  # an interrupt, or no more threads
            self.stop()
            raise
        _all.add(self)

    def submit(self, block: Block) -> None:
        """Has a block computed, after those that its request submitted before; BackendError in a forked child.

        A single batch that nobody else computes beside is computed here and now: passing it to another thread and back would
        take a query 7 % more time.
        """
        self.check_process()
        if len(block.batches) == 1 and not (self._is_busy() or self._alone()):
            self._alone = ref(block)
            batches = block.take()
            block.settle(batches[0], self._compute(batches, wide=True)[0])
            self._alone = _nobody
            return
        block.request.scheduler = self
        self._arrived.append(block)
        for _ in range(max(1, min(len(block.batches), len(self._threads)))):
            self._wake.put(None)
        if self._stopped:  # the interpreter ends, and the workers have ended
            self._drain()

    def check_process(self) -> None:
        """Raises BackendError in a forked child, which has none of these threads."""
        if os.getpid() != self._process:
            raise BackendError(
                "the process was forked while these texts were being encoded, and only the parent can go on with them; "
                "encode them again in the child"
            )

    def stop(self) -> None:
        """Has the workers end after what they were given."""
        self._stopped = True
        for _ in self._threads:
            self._wake.put(None)

    def join(self) -> None:
        """Waits until the workers have ended."""
        while any(thread.is_alive() for thread in self._threads):  # Thread.join of 3.11 errs after an interrupt
            sleep(0.0005)

    def _work(self) -> None:
        while not self._stopped:
            self._wake.get()
            self._drain()

    def _drain(self) -> None:
        group: list[Batch] = []
        errors: list[BaseException | None] = []
        while job := self._next(group, errors):
            group, errors = job[0], self._compute(*job)

    def _next(self, group: list[Batch], errors: list[BaseException | None]) -> tuple[list[Batch], bool] | None:
        """Notes how the batches computed last ended; returns the next ones, and whether they are computed wide."""
        with self._lock:
            self._running -= bool(group)
            for batch, error in zip(group, errors, strict=True):
                batch.block.settle(batch, error)
                if error is not None:
                    self._drop(batch.block.request)
            while self._arrived:
                self._admit(self._arrived.popleft())
            following = self._following()
            if not following:
                return None
            wide = not (self._is_busy() or self._alone())
            self._running += 1
            return following, wide

    def _is_busy(self) -> bool:
        return bool(self._running or self._fresh or self._served or self._arrived)

    def _admit(self, block: Block) -> None:
        request = block.request
        is_waiting = bool(request.todo)
        request.todo.extend(block.take())
        if request.is_cancelled:
            self._drop(request)
        elif request.todo and not is_waiting:
            (self._served if request.was_served else self._fresh).append(request)

    def _following(self) -> list[Batch]:
        """The next batch, or several that go together; none if nothing waits."""
        while self._fresh or self._served:
            take_fresh = self._fresh and (self._lane is self._served or not self._served)
            self._lane = self._fresh if take_fresh else self._served
            request = self._lane.popleft()
            if not request.todo:  # it was dropped
                continue
            group = [request.todo.popleft()]
            if request.todo:
                self._served.append(request)
            elif not request.was_served:
                self._merge(group)
            request.was_served = True
            return group
        return []

    def _merge(self, group: list[Batch]) -> None:
        """Adds new requests of one batch, first come first, within the token budget and without much padding."""
        lengths = [len(row) for row in group[0].rows]
        for request in [each for each in self._fresh if len(each.todo) == 1]:
            together = lengths + [len(row) for row in request.todo[0].rows]
            padded = len(together) * max(together)
            if padded <= self._reader.batch_tokens and padded <= _PADDING * sum(together):
                lengths = together
                group.append(request.todo.popleft())
                request.was_served = True
                self._fresh.remove(request)

    def _drop(self, request: Request) -> None:
        while request.todo:
            batch = request.todo.popleft()
            batch.block.settle(batch, CancelledError())

    def _compute(self, group: list[Batch], wide: bool) -> list[BaseException | None]:
        """What went wrong with each batch."""
        begun = perf_counter()
        try:
            rows = [row for batch in group for row in batch.rows]
            result = (self._reader.forward_wide if wide else self._reader.forward)(rows)
            if len(group) > 1 and len(result) != len(rows):
                raise BackendError(f"the backend returned {len(result)} vectors for {len(rows)} texts")
            start = 0
            for batch in group:
                end = start + len(batch.rows)
                batch.block.finish(batch.positions, result if len(group) == 1 else result[start:end])
                start = end
        except BaseException as error:  # whatever an engine raises, its worker goes on
            if len(group) == 1:
                return [error]
            return [self._compute([batch], wide=False)[0] for batch in group]  # a bad one fails alone
        self._trim(perf_counter() - begun)
        return [None] * len(group)


def _nothing(*_: object) -> None:
    """What is done with the results of no batches."""


def _nobody() -> None:
    """Stands for a reference to what is no more."""


_all: WeakSet[Scheduler] = WeakSet()


@atexit.register
def _end_workers() -> None:
    """Python kills threads that come back from native code after its end, and some native code then aborts the process.

    What is encoded later still, by an exit handler that was registered earlier, is computed by the thread that asks for it.
    """
    while True:
        try:
            for scheduler in list(_all):
                scheduler.stop()
                scheduler.join()
            return
        except KeyboardInterrupt:  # a second Ctrl-C: it takes a batch at most
            continue
