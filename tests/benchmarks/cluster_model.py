"""A discrete-event simulation of a bulk job: fixed shards, workers that take them, and what disturbs a cluster.

A worker reads a shard and computes it; while it computes the next one, it uploads the part, and then a small file that says
that the shard is done. A worker that dies loses these two and nothing else. A worker that has no shard left takes any that is
not done: if another worker is computing it, both write the same bytes, and the first commit counts.

The simulation leaves out how long a worker takes to list what is done, and the price of machines.
"""

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from cluster_assumptions import Assumptions, outages_of, stream
from cluster_workers import State, Unfinished, Worker, workers_of
from shared_link import SharedLink


@dataclass(frozen=True)
class Outcome:
    """What became of a job. At any moment a worker is busy with a shard, idle or down; all are seconds, of all workers together."""

    workers: int
    compute: float
    """Undisturbed compute seconds of all shards."""
    makespan: float
    """Seconds from the start of the job to the commit that completes it."""
    useful: float
    """Spent on attempts that made a shard done. The upload of a shard counts only where its worker has to wait for it."""
    wasted: float
    """Spent on attempts that were lost, or that computed what another one had done before."""
    busy: float
    idle: float
    down: float
    attempts: int
    commits: int
    """Attempts that made a shard done."""
    lost: int
    """Attempts that a failure or a preemption ended."""
    duplicates: int
    """Attempts at a shard that another one did first, finished or not."""

    @property
    def efficiency(self) -> float:
        """The part of the machines' time that is undisturbed compute time."""
        return self.compute / (self.workers * self.makespan)

    @property
    def waste(self) -> float:
        """The part of the busy time that is wasted."""
        return self.wasted / self.busy


def simulate(
    seconds: Sequence[float],
    workers: int,
    assumed: Assumptions,
    seed: int,
    failures: Iterable[tuple[float, int]] = (),
) -> Outcome:
    """The outcome of a job whose shards take so many compute seconds. The same seed gives the same outcome.

    `failures` are node failures beside the random ones: moment and number of the worker, in their order.
    """
    return _Job(seconds, workers, assumed, seed, failures).run()


class _Kind(IntEnum):
    COMPUTED, UPLOAD, STARTED, OUTAGE = range(4)


class _Job:
    """The state of a job, and what each event does to it."""

    def __init__(
        self,
        seconds: Sequence[float],
        workers: int,
        assumed: Assumptions,
        seed: int,
        failures: Iterable[tuple[float, int]],
    ) -> None:
        # Each purpose has a stream of random numbers of its own: a disturbance does not change what another one draws.
        jitter, outages, requests, choices, places = np.random.default_rng(seed).spawn(5)
        sigma = assumed.jitter
        self._jitter = stream(lambda count: jitter.lognormal(-sigma * sigma / 2, sigma, count))
        self._tries = stream(lambda count: requests.geometric(1 - assumed.request_failures, count))
        self._choices = stream(choices.random)
        planned = ((moment, worker, assumed.failure_seconds) for moment, worker in failures)
        self._outages = heapq.merge(planned, outages_of(outages, workers, assumed))

        self._seconds, self._assumed = seconds, assumed
        self._read, self._write = assumed.read_bytes * assumed.shard_rows, assumed.write_bytes * assumed.shard_rows
        self._reads = SharedLink(assumed.worker_bandwidth, assumed.store_bandwidth)
        self._uploads = SharedLink(assumed.worker_bandwidth, assumed.store_bandwidth)
        self._workers = workers_of(len(seconds), workers, assumed, places)
        self._unfinished = Unfinished(len(seconds))

        self._now = 0.0
        # A heap: moment, kind, worker, and how often that had died or the seconds of an outage. The last one never comes.
        self._events: list[tuple[float, _Kind, int, float]] = [(math.inf, _Kind.STARTED, 0, 0)]
        self._spent = [0.0, 0.0, 0.0]  # seconds in each state
        self._useful = self._wasted = 0.0
        self._attempts = self._commits = self._lost = self._duplicates = 0

    def run(self) -> Outcome:
        """Handles the events in their order until every shard is done."""
        for worker in self._workers:
            self._after(self._assumed.start_seconds, _Kind.STARTED, worker)
        self._await_outage()
        while self._unfinished:
            event = self._events[0][0]
            if self._reads.next_end <= min(event, self._uploads.next_end):
                self._now = self._reads.next_end
                self._compute(self._workers[self._reads.pop()])
            elif self._uploads.next_end <= event:
                self._now = self._uploads.next_end
                self._commit(self._workers[self._uploads.pop()])
            else:
                self._handle(*heapq.heappop(self._events))
        return self._outcome()

    def _handle(self, moment: float, kind: _Kind, number: int, value: float) -> None:
        self._now, worker = moment, self._workers[number]
        if kind is _Kind.OUTAGE:
            self._end(worker, value)
        elif kind is _Kind.STARTED:
            self._take(worker)
        elif value != worker.deaths:
            pass  # this attempt was lost
        elif kind is _Kind.UPLOAD:
            self._uploads.add(self._now, number, self._write * next(self._tries))
        elif worker.uploading is None:
            self._hand_over(worker)
        else:
            worker.waiting = True

    def _take(self, worker: Worker) -> None:
        worker.shard = self._next(worker)
        if worker.shard is None:
            self._enter(worker, State.IDLE)
            return
        self._enter(worker, State.BUSY)
        self._attempts += 1
        if self._read:
            self._reads.add(self._now, worker.number, self._read)
        else:
            self._compute(worker)

    def _next(self, worker: Worker) -> int | None:
        while worker.pile:
            shard = worker.pile.pop()
            if shard in self._unfinished:
                return shard
        own = worker.uploading is not None and worker.uploading in self._unfinished
        if self._assumed.leftovers == "wait" or len(self._unfinished) - own == 0:
            return None
        shard = self._leftover(worker)
        while shard == worker.uploading:
            shard = self._leftover(worker)
        return shard

    def _leftover(self, worker: Worker) -> int:
        if self._assumed.leftovers == "at random":
            return self._unfinished.at(next(self._choices))
        shard = self._unfinished.following(worker.place)
        worker.place = shard + 1
        return shard

    def _compute(self, worker: Worker) -> None:
        """The waits of two requests are put here: whether the shard is done, and reading it."""
        assert worker.shard is not None
        seconds = self._seconds[worker.shard] * worker.factor * next(self._jitter)
        self._after(seconds + self._wait() + self._wait(), _Kind.COMPUTED, worker)

    def _wait(self) -> float:
        """Seconds of a request, with those that fail before it."""
        tries = next(self._tries)
        return tries * self._assumed.latency + (tries - 1) * self._assumed.retry_seconds

    def _hand_over(self, worker: Worker) -> None:
        """Uploads what is computed, and takes the next shard. The waits of the part and of the file behind it come first."""
        worker.uploading, worker.spent, worker.waiting = worker.shard, self._now - worker.since, False
        wait = self._wait() + self._wait()
        if self._write or wait:
            self._after(wait, _Kind.UPLOAD, worker)
        else:
            self._commit(worker)
        self._take(worker)

    def _commit(self, worker: Worker) -> None:
        assert worker.uploading is not None
        if worker.uploading in self._unfinished:
            self._unfinished.remove(worker.uploading)
            self._commits += 1
            self._useful += worker.spent
        else:
            self._duplicates += 1
            self._wasted += worker.spent
        worker.uploading = None
        if worker.waiting:
            self._hand_over(worker)

    def _end(self, worker: Worker, seconds: float) -> None:
        """A worker dies; after so many seconds another one is in its place."""
        self._await_outage()
        if worker.state is State.DOWN:
            return
        worker.deaths += 1
        self._reads.cancel(self._now, worker.number)
        self._uploads.cancel(self._now, worker.number)
        lost = self._abandon(worker)
        self._lost += len(lost)
        self._enter(worker, State.DOWN)
        self._after(seconds, _Kind.STARTED, worker)
        worker.pile += lost
        for other in self._workers:
            if lost and other.state is State.IDLE:
                self._take(other)

    def _abandon(self, worker: Worker) -> list[int]:
        """Counts as wasted what a worker has spent on shards that are not committed, and gives these."""
        shards = [shard for shard in (worker.shard, worker.uploading) if shard is not None]
        if worker.shard is not None:
            self._wasted += self._now - worker.since
        if worker.uploading is not None:
            self._wasted += worker.spent
        worker.shard, worker.uploading, worker.waiting = None, None, False
        return shards

    def _await_outage(self) -> None:
        outage = next(self._outages, None)
        if outage is not None:
            moment, worker, seconds = outage
            heapq.heappush(self._events, (moment, _Kind.OUTAGE, worker, seconds))

    def _after(self, seconds: float, kind: _Kind, worker: Worker) -> None:
        heapq.heappush(self._events, (self._now + seconds, kind, worker.number, worker.deaths))

    def _enter(self, worker: Worker, state: State) -> None:
        self._spent[worker.state] += self._now - worker.since
        worker.state, worker.since = state, self._now

    def _outcome(self) -> Outcome:
        for worker in self._workers:  # what is under way is done already, by others
            self._duplicates += len(self._abandon(worker))
            self._enter(worker, worker.state)
        return Outcome(
            len(self._workers), math.fsum(self._seconds), self._now, self._useful, self._wasted,
            self._spent[State.BUSY], self._spent[State.IDLE], self._spent[State.DOWN],
            self._attempts, self._commits, self._lost, self._duplicates,
        )  # fmt: skip
