"""The state of a simulated job: its workers, and the shards that are not done."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from cluster_assumptions import Assumptions


class State(IntEnum):
    """What a worker does."""

    DOWN, IDLE, BUSY = range(3)


@dataclass(slots=True, eq=False)
class Worker:
    """A place for a machine. When one dies another takes its place, with the same number and speed."""

    number: int
    factor: float
    """Times the compute seconds."""
    pile: list[int]
    """The shards that it takes, the next one last. A queue is a pile that all workers share."""
    place: int
    """Where it begins to look for shards that are not done."""
    state: State = State.DOWN
    since: float = 0.0
    """When it entered this state, or took its shard."""
    shard: int | None = None
    """What it computes, or has computed and cannot upload yet."""
    waiting: bool = False
    """Whether its shard is computed, and waits for the upload of the one before."""
    uploading: int | None = None
    """The shard before, until it is committed."""
    spent: float = 0.0
    """Seconds that the shard before took until its upload began."""
    deaths: int = 0


class Unfinished:
    """The shards that are not done."""

    def __init__(self, count: int) -> None:
        self._shards = list(range(count))
        self._places = list(range(count))  # of each shard in the list
        self._done = bytearray(count)

    def __len__(self) -> int:
        return len(self._shards)

    def __contains__(self, shard: int) -> bool:
        return not self._done[shard]

    def at(self, share: float) -> int:
        """The shard so far down the list, from 0 to below 1: a random one for a random number."""
        return self._shards[int(share * len(self._shards))]

    def following(self, shard: int) -> int:
        """The first one from this shard on; after the last shard comes the first."""
        found = self._done.find(0, shard)
        return found if found >= 0 else self._done.find(0)

    def remove(self, shard: int) -> None:
        """The last shard of the list fills the gap."""
        place, last = self._places[shard], self._shards.pop()
        if last != shard:
            self._shards[place], self._places[last] = last, place
        self._done[shard] = 1


def workers_of(shards: int, count: int, assumed: Assumptions, chance: np.random.Generator) -> list[Worker]:
    """All workers, stragglers at random places among them, with what each of them takes."""
    slow = set(chance.permutation(count)[: int(assumed.straggler_share * count)].tolist())
    queue = list(range(shards))[::-1]
    return [
        Worker(
            number,
            assumed.straggler_factor if number in slow else 1.0,
            list(range(number, shards, count))[::-1] if assumed.slices else queue,
            number * shards // count,
        )
        for number in range(count)
    ]
