"""Schedules the requests of all callers on the workers of an engine.

A caller puts its batches into a queue and waits, without a lock. Only workers change the scheduler's state, in threads where no
signal handler runs. An interrupted caller therefore never loses a worker or blocks other callers.
"""

import atexit
import os
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from time import perf_counter, sleep
from typing import TYPE_CHECKING
from weakref import WeakSet, ref

from embedry._pipeline.heap import HeapTrimmer
from embedry._pipeline.requests import Batch, Block, CancelledError, Request
from embedry.errors import BackendError

if TYPE_CHECKING:
    from embedry._pipeline.readers import Reader

_FIXED_COSTS = 64
"""What a batch costs besides its tokens, as a part of the budget. Measured with requests of several callers: 8 of 512 tokens
(docs/performance.md)."""


class Scheduler:
    """The workers of a loaded engine: daemon threads that share their time fairly among the requests that wait.

    Of each request as many tokens are computed as of every other (fair queueing: Demers, Keshav, Shenker 1989), so a small one
    is soon ready beside a large one. Requests that have one batch left are computed together where they fit. A batch that
    nothing runs or waits beside is computed wide, on all threads of the engine.
    """

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader
        self._trim = HeapTrimmer()
        self._process = os.getpid()
        self._alone: Callable[[], object] = lambda: None
        """A weak reference to what a caller computes itself: it tells others, and is nothing that must be given back."""
        self._arrived: deque[Block] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()  # hints that something arrived: one too many does no harm
        self._lock = Lock()  # taken by workers alone; it guards what follows, and all requests
        self._waiting: list[Request] = []
        self.tokens = 0
        self.padded_tokens = 0
        self._clock = 0.0  # the share of a request that always waits, where a new one begins
        self._running = 0
        self._stopped = False
        self._threads = [Thread(target=self._work, name="embedry-worker", daemon=True) for _ in range(reader.workers)]
        _all.add(self)

    def start(self) -> None:
        """Starts the workers. To be followed by `stop`, also where it fails."""
        try:
            for thread in self._threads:
                thread.start()
        except RuntimeError:  # the interpreter ends, or the system has no more threads: callers compute themselves
            self.stop()

    def submit(self, block: Block) -> None:
        """Has a block computed, after those that its request submitted before; BackendError in a forked child.

        A single batch that nobody else computes beside is computed here and now, if the caller waits for it: passing it to
        another thread and back would take a query 7 % more time.
        """
        self.check_process()
        waits = block.when_done is None
        if waits and len(block.batches) == 1 and not (self._running or self._waiting or self._arrived or self._alone()):
            self._alone = ref(block)
            (batch,) = block.take()
            self._count([batch])
            block.settle(batch, self._compute([batch], wide=True)[0])
            self._alone = lambda: None
            return
        block.request.submit = self.submit
        self._arrived.append(block)
        for _ in range(max(1, min(len(block.batches), len(self._threads)))):
            self._wake.put(None)
        if self._stopped:
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
            self._waiting = [request for request in self._waiting if request.todo]
            if not self._waiting:
                return None
            following = self._following()
            wide = not (self._running or self._alone() or any(request.todo for request in self._waiting))
            self._running += 1
            self._count(following)
            return following, wide

    def _admit(self, block: Block) -> None:
        request = block.request
        request.todo.extend(block.take())
        if request.is_cancelled:
            self._drop(request)
        elif request not in self._waiting:
            request.share = max(request.share, self._clock)
            self._waiting.append(request)

    def _drop(self, request: Request) -> None:
        while request.todo:
            batch = request.todo.popleft()
            batch.block.settle(batch, CancelledError())

    def _following(self) -> list[Batch]:
        """The next batch of the request with the least share, and others that go along with it."""
        first = min(self._waiting, key=lambda request: request.share)
        group = self._merged(first.todo[0]) if len(first.todo) == 1 else [first.todo[0]]
        computed = self._computed(group)
        self._clock += computed / len(self._waiting)
        texts = sum(len(batch.rows) for batch in group)
        for batch in group:
            batch.block.request.share += computed * len(batch.rows) / texts
            batch.block.request.todo.popleft()
        return group

    def _merged(self, first: Batch) -> list[Batch]:
        """A batch and the last ones of other requests, nearest in length first, while padding wastes less than it saves.

        What it saves is the fixed cost of one more batch: with more padding than that, two batches would be cheaper.
        """
        budget = self._reader.batch_tokens
        group, tokens = [first], first.tokens
        last = [request.todo[0] for request in self._waiting if len(request.todo) == 1]
        for other in sorted(last, key=lambda batch: abs(batch.longest - first.longest)):
            if other is first:
                continue
            tokens += other.tokens
            if self._computed([*group, other]) > min(budget, tokens + budget // _FIXED_COSTS):
                break
            group.append(other)
        return group

    def _computed(self, group: list[Batch]) -> int:
        """The tokens that the engine computes for batches together: with padding, unless it packs."""
        if self._reader.packs:
            return sum(batch.tokens for batch in group)
        return max(batch.longest for batch in group) * sum(len(batch.rows) for batch in group)

    def _count(self, group: list[Batch]) -> None:
        self.tokens += sum(batch.tokens for batch in group)
        self.padded_tokens += self._computed(group)
        now = perf_counter()
        for request in {batch.block.request for batch in group}:
            request.begun = request.begun or now

    def _compute(self, group: list[Batch], wide: bool) -> list[BaseException | None]:
        """What went wrong with each batch."""
        begun = perf_counter()
        try:
            rows = [row for batch in group for row in batch.rows]
            result = (self._reader.forward_wide if wide else self._reader.forward)(rows)
            if len(group) > 1 and len(result) != len(rows):
                raise BackendError(f"the backend returned {len(result)} vectors for {len(rows)} texts")
            for batch in group:
                batch.block.finish(batch.positions, result[: len(batch.rows)] if len(group) > 1 else result)
                result = result[len(batch.rows) :]
        except BaseException as error:  # whatever an engine raises, its worker goes on
            if len(group) == 1:
                return [error]
            return [self._compute([batch], wide=False)[0] for batch in group]  # a bad one fails alone
        self._trim(perf_counter() - begun)
        return [None] * len(group)


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
