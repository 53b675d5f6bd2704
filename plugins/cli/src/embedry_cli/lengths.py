"""Implements `embedry embed --stats`: counts the tokens of the embedded texts and the truncated texts."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedry import EncodedBlock
from embedry_cli import terminal

_BAR = 40
"""Length of the longest bar in characters."""


class Lengths:
    """Counts the tokens of all texts of a run, block by block, in constant memory.

    Args:
        limit: the maximum tokens of a text for the model.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._counts: NDArray[np.int64] = np.zeros(limit + 1, dtype=np.int64)
        self._texts = 0
        self.truncated = 0

    def add(self, block: EncodedBlock[Any]) -> None:
        """Counts the texts of a block."""
        self._texts += len(block.vectors)
        self.truncated += len(block.truncated)
        if block.tokens is not None:
            counts = np.bincount(block.tokens, minlength=len(self._counts))
            counts[: len(self._counts)] += self._counts
            self._counts = counts  # longer than before if a query was padded beyond the limit

    def lines(self) -> Iterator[str]:
        """Yields a histogram with a bar for each doubling of the length, and a summary."""
        counted = int(self._counts.sum())
        if not counted:
            yield "tokens are not known: there are no texts, or the engine reads them in its own way"
            return
        lengths = np.arange(len(self._counts))
        yield f"tokens of {terminal.counted(counted, 'text')}, with prompt and special tokens:"
        yield from self._bars()
        middle, most = (int(np.searchsorted(self._counts.cumsum(), share * counted)) for share in (0.5, 0.95))
        total = int((self._counts * lengths).sum())
        yield f"median {middle:,}, 95% of the texts have at most {most:,}, {total:,} tokens in all"
        share = 100 * self.truncated / counted
        yield f"{terminal.counted(self.truncated, 'text')} ({share:.1f}%) cut at {self._limit:,} tokens"

    def _bars(self) -> Iterator[str]:
        ends = [1]
        while ends[-1] < self._limit:
            ends.append(min(2 * ends[-1], self._limit))
        parts = np.add.reduceat(self._counts, [0, *(end + 1 for end in ends[:-1])])
        used = np.flatnonzero(parts)
        for place in range(used[0], used[-1] + 1):
            first = ends[place - 1] + 1 if place else 0
            bar = "#" * round(_BAR * int(parts[place]) / int(parts.max()))
            yield f"{f'{first}-{ends[place]}':>13} {int(parts[place]):>12,} {bar}".rstrip()
