"""Runs a job: selects the remaining shards, computes them, and checks completeness."""

import random
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from threading import Event
from typing import NamedTuple, TypeAlias, cast

from embedry import BackendError, discovery
from embedry.options import Options
from embedry_bulk import records
from embedry_bulk.errors import ChangedInputError, IncompleteError, InputError, PlanError, RejectedError
from embedry_bulk.parts import part_name
from embedry_bulk.plan import Plan
from embedry_bulk.records import Done, Failed
from embedry_bulk.shard import Advance, Computed, Worker

GROUP = "embedry.bulk_runners"
"""The entry-point group of runners."""

ATTEMPTS = 3
"""How often a shard is tried before it counts as failed and the others go on."""

Outcome: TypeAlias = Done | Failed

_SHARD_FAULTS = (InputError, BackendError, MemoryError)
"""What may concern one shard alone. Everything else ends the run: no other shard would fare better."""

_POLL = 1.0
"""Seconds between two looks at shards that another process computes."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings for running a job. They do not change the result."""

    options: Options = field(default_factory=Options)
    """Those of `resolve` that concern the machine."""
    advance: Advance = lambda _: None
    """Told how many rows more are computed, where the runner can say so before a shard is done."""
    attempts: int = ATTEMPTS
    address: str | None = None
    """Of a cluster; None for one on this machine."""
    actors: int | None = None
    """Processes of a cluster; None for as many as it has room for."""
    gpus: float = 0
    """Of each process of a cluster."""


Runner: TypeAlias = Callable[[Plan, Iterator[int], Settings], Iterator[Outcome]]
"""Computes shards: takes their numbers from the iterator as it has room for them, and gives each one's outcome when it is
there. It writes no records of failures; shards commit themselves."""


class Allowance(NamedTuple):
    """The maximum number or share of rejected rows."""

    most: int | None
    share: float

    @classmethod
    def parsed(cls, text: str) -> "Allowance":
        """Parses "0.1%" or "100". Raises PlanError for other values."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", text.strip())
        if match is None or (not match[2] and "." in match[1]):
            raise PlanError(
                f'--max-rejected must be a number of rows or a percentage, such as 100 or 0.1%, got "{text}"'
            )
        return cls(None, float(match[1]) / 100) if match[2] else cls(int(match[1]), 0.0)

    def check(self, rejected: int, plan: Plan) -> None:
        """Raises RejectedError if more rows were rejected."""
        most = self.most if self.most is not None else int(self.share * plan.total + 1e-6)
        if rejected > most:
            raise RejectedError(
                f"{rejected:,} of {plan.total:,} rows were rejected, but at most {most:,} may be; their reasons are in "
                f"{plan.url}/{records.REJECTED}. Completed shards are kept; to allow more: embedry bulk run {plan.url} --max-rejected {2 * rejected}"
            )


def runner(name: str) -> Runner:
    """The runner with this name.

    Raises:
        PlanError: no installed package provides it.
    """
    points = {point.name: point for point in discovery.entry_points(GROUP)}
    if name not in points:
        raise PlanError(
            f"no installed package runs jobs on {name!r}; there is {', '.join(sorted(points))}"
            + ("; try: pip install embedry-ray" if name == "ray" else "")  # any package could register another name
        )
    return cast(Runner, points[name].load())


def run(
    plan: Plan,
    compute: Runner,
    settings: Settings,
    *,
    share: tuple[int, int] = (1, 1),
    allowance: Allowance,
    stopping: Event,
    watch: Callable[[Outcome], object] = lambda _: None,
) -> Mapping[str, int]:
    """Computes the remaining shards of a job; returns the counts of its rows.

    Args:
        plan: the plan.
        compute: the runner that computes the shards.
        settings: how to run the job.
        share: the number of this worker, from 1, and the number of workers. It starts with its share, then computes shards that
            others have not done.
        allowance: the maximum of rejected rows.
        stopping: once set, no further shard starts.
        watch: called with each outcome.

    Raises:
        RejectedError: more rows were rejected than allowed.
        IncompleteError: shards have failed, or rows are missing.
        As `run_shard`, for errors that affect all shards.
    """
    done = records.forget_broken(plan)
    rejected = sum(each.rejected for each in done.values())
    allowance.check(rejected, plan)
    for outcome in compute(plan, _pending(plan, set(done), share, stopping), settings):
        watch(outcome)
        if isinstance(outcome, Done):
            rejected += outcome.rejected
            allowance.check(rejected, plan)
        else:
            with plan.folder.spool() as spool:
                records.write(outcome, plan, spool)
    if stopping.is_set():
        return records.total(records.done_shards(plan).values())
    return check_complete(plan)


def check_complete(plan: Plan) -> Mapping[str, int]:
    """The counts of a job's rows. Raises IncompleteError unless every shard is done and every row is in the result or rejected."""
    done = records.done_shards(plan)
    failed = records.failed_shards(plan)
    missing = [shard for shard in range(plan.shards) if shard not in done]
    if missing:
        shown = ", ".join(map(str, missing[:10])) + (", ..." if len(missing) > 10 else "")
        why = next((f": {failed[shard].reason}" for shard in missing if shard in failed), "")
        raise IncompleteError(
            f"{len(missing):,} of {plan.shards:,} shards are not done ({shown}){why}; the others are kept. To retry them: "
            f"embedry bulk run {plan.url}"
        )
    counts = records.total(done.values())
    if counts["rows"] + counts["rejected"] != plan.total:
        raise IncompleteError(
            f"{plan.total:,} rows were planned, and {counts['rows']:,} were written and {counts['rejected']:,} rejected; look for "
            f"the shard: embedry bulk verify {plan.url}"
        )
    return counts


def local(plan: Plan, shards: Iterator[int], settings: Settings) -> Iterator[Outcome]:
    """Computes shards in this process. While one is computed, the previous one is committed."""
    first = next(shards, None)
    if first is None:  # load nothing if no shard is left
        return
    with plan.folder.spool() as spool, ThreadPoolExecutor(1, thread_name_prefix="embedry-bulk-commit") as committing:
        worker = Worker(plan, spool, settings.advance, **settings.options)
        under_way: Future[Outcome] | None = None
        for shard in chain([first], shards):
            computed = _attempted(worker, shard, settings.attempts)
            if under_way is not None:
                yield under_way.result()
            under_way = committing.submit(_committed, computed)
        if under_way is not None:
            yield under_way.result()


def _committed(computed: Computed | Failed) -> Outcome:
    return computed.commit() if isinstance(computed, Computed) else computed


def _attempted(worker: Worker, shard: int, attempts: int) -> Computed | Failed:
    for attempt in range(1, attempts + 1):
        try:
            return worker.compute(shard)
        except ChangedInputError:
            raise
        except _SHARD_FAULTS as error:
            if attempt == attempts:
                return failure(worker.plan, shard, error, attempts)
    raise AssertionError("unreachable")


def failure(plan: Plan, shard: int, error: BaseException, attempts: int) -> Failed:
    """The record of a shard that failed after this many attempts."""
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return Failed(plan=plan.digest, shard=shard, reason=reason, attempts=attempts)


def _pending(plan: Plan, done: set[int], share: tuple[int, int], stopping: Event) -> Iterator[int]:
    """Yields each remaining shard once: first this worker's share, in order; then shards that others have not done, in random order, so
    that few workers compute the same one. Shards that another process of this machine is writing come only after it has ended.
    """
    worker, workers = share
    given: set[int] = set()
    for shard in range(worker - 1, plan.shards, workers):
        if stopping.is_set():
            return
        is_left = shard not in done and not records.is_done(plan, shard)
        if is_left and part_name(plan, shard) not in plan.folder.others():
            given.add(shard)
            yield shard
    while not stopping.is_set():
        others = plan.folder.others()
        left = sorted(set(range(plan.shards)) - records.recorded(plan) - given)
        free = [shard for shard in left if part_name(plan, shard) not in others]
        if free:
            shard = random.choice(free)  # noqa: S311  no secret
            given.add(shard)
            yield shard
        elif left:
            stopping.wait(_POLL)
        else:
            return
