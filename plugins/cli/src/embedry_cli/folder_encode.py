"""Embeds passages in blocks. The block size adapts to the speed of the model, so that each takes a few seconds."""

import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from embedry import LazyEmbedder
from embedry_cli import stages, terminal
from embedry_cli.amounts import size, time_span

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROLE = "document"
"""The role used to embed passages."""

_FIRST = 64
"""Passages in the first block, which measures the speed of the model."""

_FEWEST, _MOST = 16, 2048
"""Minimum and maximum number of passages in later blocks."""

_SECONDS = 3
"""Target duration of a block. Results are stored, or progress is shown, after each block."""

_LONG = 10
"""Minimum expected duration, in seconds, for announcing it."""


class Encoded(NamedTuple):
    """The vectors of a block of texts, in the same order."""

    vectors: "NDArray[np.float32]"
    bytes: int
    """Size of the texts."""
    seconds: float


def encoded(embedder: LazyEmbedder, texts: Iterator[str]) -> Iterator[Encoded]:
    """Embeds passages, and yields the vectors of each block."""
    count = _FIRST
    while block := list(islice(texts, count)):
        start = time.perf_counter()
        vectors = embedder.encode(block, role=ROLE)
        seconds = time.perf_counter() - start
        yield Encoded(vectors, sum(len(text.encode()) for text in block), seconds)
        count = min(max(round(len(block) * _SECONDS / seconds), _FEWEST), _MOST)


def shown(blocks: Iterator[Encoded], total: int, read: Callable[[], int], advice: str = "") -> Iterator[Encoded]:
    """Yields the blocks and shows progress. Announces the expected duration after the first block if it is long.

    Args:
        blocks: the blocks to yield.
        total: bytes of all files.
        read: returns the number of bytes read so far.
        advice: text to append to the announcement.
    """
    first = next(blocks, None)
    if first is None:
        return
    expected = first.seconds * total / first.bytes
    if len(first.vectors) == _FIRST and expected >= _LONG:  # a smaller block is the only one
        terminal.note(f"embedding {size(total)} of text will take about {time_span(expected)}{advice}")
    yield first
    done = len(first.vectors)
    log = stages.notes()
    with terminal.progress("passages", total) as advance:
        for block in blocks:
            done += len(block.vectors)
            advance(done, read())
            log(f"embedding: {min(read() / total, 1):.0%}")
            yield block
