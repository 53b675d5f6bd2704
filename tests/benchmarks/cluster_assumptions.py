"""What the simulation of a bulk job assumes, and what it draws at random from that: the times of shards, and outages."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

BLOCK = 4096
"""Random numbers that are drawn together: one at a time is slow."""

Leftovers: TypeAlias = Literal["wait", "in order", "at random"]

DISTURBANCES: dict[str, dict[str, Any]] = {
    "stragglers": {"straggler_share": 0.0, "jitter": 0.0},
    "failures": {"failures_per_hour": 0.0},
    "slow store": {"latency": 0.0, "read_bytes": 0.0, "write_bytes": 0.0, "request_failures": 0.0},
    "preemption": {"preemptions_per_hour": 0.0},
    "start": {"start_seconds": 0.0},
}
"""The fields without which a disturbance does not exist."""


@dataclass(frozen=True)
class Assumptions:
    """The job, the cluster and the store. What says "assumed" has no source: choose your own value."""

    rows: float = 10e9
    """Rows of the whole job."""
    tokens_per_row: float = 12.0
    """Mean tokens of a row; search queries and titles are of this length."""
    shard_tokens: float = 2e6
    """Tokens a shard."""
    read_bytes: float = 50.0
    """Bytes a row that are read: 12 tokens are some 50 characters. Compression is left out."""
    write_bytes: float = 1586.0
    """Bytes a row that are written: 384 float32 components, and the text passed through."""

    slices: bool = True
    """Whether worker k of n takes shards k, k + n, k + 2n and so on, which needs no coordinator. Otherwise each takes the next
    shard of one queue, which the driver of a framework such as Ray keeps."""
    leftovers: Leftovers = "at random"
    """What a worker does that has no shard left: it waits, or takes one that is not done. Without a coordinator it cannot know
    which of them others are computing. "In order" goes through all shards, from a place of its own; "at random" draws one."""

    straggler_share: float = 0.05
    """Share of the machines that are slow for the whole job, rounded down: of fewer than 20 machines none is. Assumed."""
    straggler_factor: float = 3.0
    """Times the compute seconds, on a slow machine. Assumed. In clusters of Facebook and Bing the stragglers of small jobs took 8
    times as long as the median task (Ananthanarayanan et al., "Effective Straggler Mitigation", NSDI 2013)."""
    jitter: float = 0.1
    """Sigma of a lognormal factor of mean 1 on the compute seconds of each attempt, beside the spread of the measured times: other
    tenants of the host, clock rates. Assumed."""

    failures_per_hour: float = 0.06
    """Node failures a worker and hour: one a minute in a cluster of 1,000. Assumed, as a high rate."""
    failure_seconds: float = 360.0
    """Seconds from a failure until another worker has started: by default Kubernetes evicts the pods of an unreachable node after
    300 seconds; then the start."""
    start_seconds: float = 60.0
    """Seconds from the start of the job until a worker takes its first shard: image, process, model. Assumed."""

    preemptions_per_hour: float = 0.1
    """Preemptions of spot machines, a worker and hour. Assumed; machines that are stopped after 24 hours at the latest, as Google's
    preemptible ones are, have 0.04 at least. The notice before it is not used: the shard is lost."""
    preemption_seconds: float = 600.0
    """Mean seconds, exponentially distributed, from a preemption until a worker on another machine has started. Assumed."""

    latency: float = 0.2
    """Seconds a request, beside the transfer. Assumed."""
    worker_bandwidth: float = 100e6
    """Bytes a second that one worker reads at most, and as many that it writes. Assumed."""
    store_bandwidth: float = 5e9
    """Bytes a second that all workers together read at most, and as many that they write: 40 Gbit/s, shared equally. Assumed."""
    request_failures: float = 0.01
    """Share of the requests that fail and are made again; a failed upload sends all its bytes again. Assumed."""
    retry_seconds: float = 2.0
    """Seconds before a request is made again: what the guidelines for Amazon S3 recommend for the first retry."""

    @property
    def shard_rows(self) -> float:
        """Mean rows a shard."""
        return self.shard_tokens / self.tokens_per_row

    @property
    def shards(self) -> int:
        """Shards of the job."""
        return math.ceil(self.rows / self.shard_rows)

    def only(self, *disturbances: str) -> "Assumptions":
        """The same without all other disturbances."""
        changes: dict[str, Any] = {}
        for name, absent in DISTURBANCES.items():
            if name not in disturbances:
                changes |= absent
        return replace(self, **changes)


def replay(token_seconds: Sequence[float], assumed: Assumptions, seed: int) -> list[float]:
    """Compute seconds of each shard of the job, drawn from measured seconds a token.

    What a shard costs beside its tokens is in the measured times, and so is taken to grow and fall with a shard's size.
    """
    drawn: NDArray[np.float64] = np.random.default_rng(seed).choice(np.asarray(token_seconds), assumed.shards)
    return [float(seconds) for seconds in drawn * assumed.shard_tokens]


def outages_of(chance: np.random.Generator, workers: int, assumed: Assumptions) -> Iterator[tuple[float, int, float]]:
    """Failures and preemptions of all workers, as one Poisson process: moment, worker, and seconds until another has started.

    What hits a worker that is down has no effect, so each worker that runs has the assumed rates.
    """
    failures, both = assumed.failures_per_hour, assumed.failures_per_hour + assumed.preemptions_per_hour
    moment = 0.0
    while both:
        moment += chance.exponential(3600 / (both * workers))
        worker, failed = int(chance.integers(workers)), chance.random() * both < failures
        yield moment, worker, assumed.failure_seconds if failed else chance.exponential(assumed.preemption_seconds)


def stream(draw: Callable[[int], NDArray[np.float64] | NDArray[np.int64]]) -> Iterator[float]:
    """Random numbers without end, from a function that draws so many."""
    while True:
        yield from draw(BLOCK).tolist()
