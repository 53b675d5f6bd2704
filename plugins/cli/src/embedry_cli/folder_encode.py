"""Embedding the passages of files, in blocks that take some seconds, whatever the speed of the model."""

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
"""Of passages."""

_FIRST = 64
"""Passages of the first block, which shows how fast the model is."""

_FEWEST, _MOST = 16, 2048
"""Passages of the others."""

_SECONDS = 3
"""That they should take: what is done is stored, or shown as progress, after each."""

_LONG = 10
"""Seconds from which on it is announced how long the work takes."""


class Encoded(NamedTuple):
    """The vectors of some texts, in their order."""

    vectors: "NDArray[np.float32]"
    bytes: int
    """Of the texts."""
    seconds: float


def encoded(embedder: LazyEmbedder, texts: Iterator[str]) -> Iterator[Encoded]:
    """The vectors of passages, block by block."""
    count = _FIRST
    while block := list(islice(texts, count)):
        start = time.perf_counter()
        vectors = embedder.encode(block, role=ROLE)
        seconds = time.perf_counter() - start
        yield Encoded(vectors, sum(len(text.encode()) for text in block), seconds)
        count = min(max(round(len(block) * _SECONDS / seconds), _FEWEST), _MOST)


def shown(blocks: Iterator[Encoded], total: int, read: Callable[[], int], advice: str = "") -> Iterator[Encoded]:
    """Says after the first block how long all will take, if that is long, and shows the progress of the others.

    Args:
        blocks: which pass through.
        total: bytes of all files.
        read: how many of them were read.
        advice: ends what is said.
    """
    first = next(blocks, None)
    if first is None:
        return
    expected = first.seconds * total / first.bytes
    if len(first.vectors) == _FIRST and expected >= _LONG:  # else there is no other block
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
