"""Transfers through a link that many workers share: the bandwidth of an object store in a simulation."""

import heapq
import math


class SharedLink:
    """Transfers that get equal parts of a total bandwidth, each of them limited to a worker's own.

    All transfers have the same rate at any moment. So one counter of the bytes that each of them would have got since the
    beginning is enough: a transfer ends when the counter has grown by its size.
    """

    def __init__(self, each: float, total: float) -> None:
        self.next_end = math.inf
        """The moment at which the next transfer ends, if no other one begins before."""
        self._each, self._total = each, total
        self._transfers: list[tuple[float, int]] = []  # a heap: the counter at the end, and the worker
        self._counter, self._rate, self._now = 0.0, 0.0, 0.0

    def add(self, now: float, worker: int, size: float) -> None:
        """Begins a worker's transfer of so many bytes."""
        self._advance(now)
        heapq.heappush(self._transfers, (self._counter + size, worker))
        self._plan()

    def pop(self) -> int:
        """Ends the transfer that is due at `next_end`, and gives its worker."""
        self._now = self.next_end
        self._counter, worker = heapq.heappop(self._transfers)
        self._plan()
        return worker

    def cancel(self, now: float, worker: int) -> None:
        """Ends a worker's transfer, if it has one, before its time."""
        self._advance(now)
        self._transfers = [transfer for transfer in self._transfers if transfer[1] != worker]
        heapq.heapify(self._transfers)
        self._plan()

    def _advance(self, now: float) -> None:
        self._counter += (now - self._now) * self._rate
        self._now = now

    def _plan(self) -> None:
        if not self._transfers:
            self._rate, self.next_end = 0.0, math.inf
            return
        self._rate = min(self._each, self._total / len(self._transfers))
        missing = max(0.0, self._transfers[0][0] - self._counter)  # rounding may have gone past the end
        self.next_end = self._now + missing / self._rate
