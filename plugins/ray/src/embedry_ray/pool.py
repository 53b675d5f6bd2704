"""A pool of actors: assigns the shards of a job, collects outcomes, and retries failures."""

import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, Literal

import ray

from embedry import BackendError
from embedry_bulk import ChangedInputError, Done, Failed, InputError, Plan, Settings, failure
from embedry_bulk.progress import note
from embedry_ray import actors
from embedry_ray.cluster import threads_of
from embedry_ray.errors import ActorError, behind
from embedry_ray.limits import AgeLimit, Patience

_TRIED_AGAIN = (ActorError, InputError, BackendError, MemoryError)
"""What may concern one shard or one actor alone. All else would be the same anywhere, as would a ChangedInputError."""

_POLL = 1.0
"""Seconds after which ages are looked at, if nothing happens before."""

_CLOSING = 10.0
"""Seconds that actors have to remove what is not complete."""

_Step = Literal["start", "compute", "commit"]
_NO_SHARD = -1
"""Of a start."""


@dataclass(eq=False)
class _Actor:
    handle: Any
    failed_starts: int
    """How many actors before it, in its place, did not start."""
    name: str = "an actor"
    """With machine and process, once it is ready."""
    ready: bool = False
    under_way: list[_Step] = field(default_factory=list)
    failed: bool = False
    """It gets no more shards: an engine that has failed may fail from then on, as it does after an error of CUDA."""

    @property
    def idle(self) -> bool:
        """Whether it can compute a shard. Limits the number of uncommitted shards."""
        return self.ready and not self.failed and self.under_way in ([], ["commit"])


@dataclass(frozen=True, eq=False)
class _Task:
    actor: _Actor
    step: _Step
    shard: int
    begun: float


class Pool:
    """Computes shards with a number of actors. The process must be connected to a cluster.

    Args:
        plan: the plan.
        shards: the numbers of the shards, consumed when an actor is idle.
        settings: how to run the job.
        count: the number of actors.
    """

    def __init__(self, plan: Plan, shards: Iterator[int], settings: Settings, count: int) -> None:
        self._plan = plan
        self._shards = shards
        self._settings = settings
        self._count = count
        self._shared_plan = ray.put(plan)
        self._actors: list[_Actor] = []
        self._tasks: dict[Future[Any], _Task] = {}
        self._asked: Future[int | None] | None = None
        """For the next shard."""
        self._has_more = True
        """Whether there may be one."""
        self._waiting: deque[int] = deque()
        """Shards that need an actor, for the first time or once more."""
        self._attempts: Counter[int] = Counter()
        """Those that have failed."""
        self._age_limit = AgeLimit()
        self._patience = Patience()

    def outcomes(self) -> Iterator[Done | Failed]:
        """Computes the shards; yields each outcome as it becomes known.

        Raises:
            ActorError: actors end during startup.
            ClusterError: the cluster starts no actor.
            As `run_shard`, for errors that affect all shards.
        """
        try:
            for _ in range(self._count):
                self._start(0)
            while True:
                self._distribute()
                if not self._is_working():
                    return
                futures = [*self._tasks, self._asked] if self._asked else list(self._tasks)
                for future in wait(futures, _POLL, FIRST_COMPLETED).done:
                    yield from self._completed(future)
                yield from self._end_stuck()
                self._patience.check(any(actor.ready for actor in self._actors))
        finally:
            self._end(self._actors)

    def _is_working(self) -> bool:
        is_under_way = any(task.step != "start" for task in self._tasks.values())
        return self._has_more or bool(self._waiting) or is_under_way

    def _distribute(self) -> None:
        idle = [actor for actor in self._actors if actor.idle]
        while idle and self._waiting:
            self._submit(idle.pop(), "compute", self._waiting.popleft())
        if idle and self._has_more and self._asked is None:
            self._asked = _next_of(self._shards)

    def _start(self, failed_starts: int) -> None:
        threads, gpus = threads_of(self._settings), self._settings.gpus
        handle = actors.started(self._shared_plan, self._settings.options, threads=threads, gpus=gpus)
        self._actors.append(_Actor(handle, failed_starts))
        self._submit(self._actors[-1], "start")

    def _submit(self, actor: _Actor, step: _Step, shard: int = _NO_SHARD) -> None:
        method = getattr(actor.handle, step)
        result = method.remote() if shard == _NO_SHARD else method.remote(shard)
        self._tasks[result.future()] = _Task(actor, step, shard, time.monotonic())
        actor.under_way.append(step)

    def _completed(self, future: Future[Any]) -> Iterator[Done | Failed]:
        if future is self._asked:
            self._asked, shard = None, future.result()
            if shard is None:
                self._has_more = False
            else:
                self._waiting.append(shard)
            return
        task = self._tasks.pop(future)
        task.actor.under_way.remove(task.step)
        error = future.exception()
        if error is None:
            yield from self._succeeded(task, future.result())
        else:
            yield from self._failed(task, behind(error, task.actor.name))
        self._replace_failed(task.actor)

    def _succeeded(self, task: _Task, result: Any) -> Iterator[Done]:
        if task.step == "start":
            task.actor.name, task.actor.ready, task.actor.failed_starts = result, True, 0
        elif task.step == "compute":
            self._age_limit.add(time.monotonic() - task.begun)
            self._submit(task.actor, "commit", task.shard)
        else:
            yield result

    def _failed(self, task: _Task, error: BaseException) -> Iterator[Failed]:
        """Retries the shard or gives it up. Raises errors that affect all shards."""
        if not isinstance(error, _TRIED_AGAIN) or isinstance(error, ChangedInputError):
            raise error
        task.actor.failed = True
        if task.step == "start":
            self._count_failed_start(task.actor, error)
            return
        self._attempts[task.shard] += 1
        if self._attempts[task.shard] < self._settings.attempts:
            self._waiting.append(task.shard)
        else:
            yield failure(self._plan, task.shard, error, self._settings.attempts)

    def _count_failed_start(self, actor: _Actor, error: Exception) -> None:
        actor.failed_starts += 1
        if actor.failed_starts == self._settings.attempts:
            if self._actors == [actor]:  # the last one
                raise error
            note(f"{len(self._actors) - 1:,} actors are left, one does not start: {error}")

    def _replace_failed(self, actor: _Actor) -> None:
        """Replaces a failed actor once its work is finished."""
        if actor.failed and not actor.under_way:
            self._actors.remove(actor)
            self._end([actor])
            if actor.failed_starts < self._settings.attempts:
                self._start(actor.failed_starts)

    def _end_stuck(self) -> Iterator[Failed]:
        """Kills actors that work on a shard for too long, without waiting: their machine may be unreachable."""
        limit, now = self._age_limit.seconds, time.monotonic()
        old = {task.actor for task in self._tasks.values() if task.step != "start" and now - task.begun > limit}
        for actor in old:
            ray.kill(actor.handle)
            error = ActorError(f"{actor.name} was ended: it had no result after {limit / 60:,.0f} minutes")
            tasks = {future: task for future, task in self._tasks.items() if task.actor is actor}
            for future, task in tasks.items():
                del self._tasks[future]
                yield from self._failed(task, error)
            actor.under_way.clear()
            self._replace_failed(actor)

    def _end(self, ended: list[_Actor]) -> None:
        """Ends actors and lets them remove incomplete files if they still can."""
        closing = [actor.handle.close.remote() for actor in ended if actor.ready]
        if closing:
            ray.wait(closing, num_returns=len(closing), timeout=_CLOSING)
        for actor in ended:
            ray.kill(actor.handle)


def _next_of(shards: Iterator[int]) -> Future[int | None]:
    """The next shard, None after the last one.

    Runs in a thread, because the iterator may wait for other processes. Does not use a thread pool, which would keep this process
    from exiting.
    """
    future: Future[int | None] = Future()

    def ask() -> None:
        try:
            future.set_result(next(shards, None))
        except Exception as error:
            future.set_exception(error)

    Thread(target=ask, name="embedry-ray-shards", daemon=True).start()
    return future
