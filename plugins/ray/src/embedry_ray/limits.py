"""Timeouts for shards and for starting actors."""

import statistics
import time
from collections import deque

from embedry_bulk.progress import note
from embedry_ray import cluster
from embedry_ray.errors import ClusterError

_TIMES_THE_MEDIAN = 10
_SHORTEST_LIMIT = 15 * 60
"""A shard is stuck after so many times the median of the others, and not before so many seconds. Shards have about equally many
tokens, so on equal machines their times are close to each other; a slow machine or a full network makes it a few times more."""

_FIRST_LIMIT = 6 * 3600
"""Seconds, while no shard is done: one of 2,000,000 tokens takes nearly as long at 100 tokens a second."""

_PATIENCE = 15 * 60
"""Seconds without an actor that is ready: other jobs may hold the CPUs for a while, and a cloud takes minutes to start a machine."""

_QUIET = 60
"""Seconds after which people are told what is waited for."""


class AgeLimit:
    """The time after which a shard counts as stuck."""

    def __init__(self) -> None:
        self._took: deque[float] = deque(maxlen=1000)

    def add(self, seconds: float) -> None:
        """Records the duration of a shard."""
        self._took.append(seconds)

    @property
    def seconds(self) -> float:
        """The limit in seconds."""
        if not self._took:
            return _FIRST_LIMIT
        return max(_SHORTEST_LIMIT, _TIMES_THE_MEDIAN * statistics.median(self._took))


class Patience:
    """Waits for actors to start."""

    def __init__(self) -> None:
        self._ready = time.monotonic()
        self._said = False

    def check(self, is_ready: bool) -> None:
        """Call this regularly, with whether an actor is ready.

        Raises:
            ClusterError: no actor was ready for too long.
        """
        now = time.monotonic()
        if is_ready:
            self._ready, self._said = now, False
        elif now - self._ready > _PATIENCE:
            raise ClusterError(
                f"no actor has started for {_PATIENCE // 60} minutes: {cluster.free()}; see what holds them: ray status"
            )
        elif now - self._ready > _QUIET and not self._said:
            self._said = True
            note(f"waiting for the cluster to start an actor: {cluster.free()}")
