"""Texts that were read but not computed, and blocks of a stream: vectors together with what is known of their texts."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from embedry.options import checked_timeout

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedry._pipeline.readers import Read
    from embedry._pipeline.scheduler import Request


class EncodedBlock(NamedTuple):
    """Some texts of a stream, in order."""

    vectors: "NDArray[np.float32]"
    """float32 (texts of the block, dims)."""
    tokens: Sequence[int] | None
    """How many tokens of each text the engine was given; None for an engine that reads texts in its own way."""
    truncated: Sequence[int]
    """The positions, counted from the first text of the stream, of those that are longer than the model reads."""


class Prepared:
    """The texts of one call, read: their tokens are counted, and their vectors can be computed.

    It keeps the model in memory. `LazyEmbedder.prepare` makes one.
    """

    def __init__(self, read: "Sequence[Read]", compute: "Callable[[Request], NDArray[np.float32]]") -> None:
        self._read = read
        self._compute = compute

    @property
    def tokens(self) -> list[int] | None:
        """How many tokens of each text the engine is given, in the order of the texts: the prompt and special tokens count,
        what was truncated does not, and equal texts count each time. None for an engine that reads texts in its own way.
        """
        counts = [block.tokens for _, block in self._read if block.tokens is not None]
        if len(counts) < len(self._read):
            return None
        different = [count for block in counts for count in block]
        return [different[place] for place in self._inverse]

    @property
    def truncated(self) -> list[int]:
        """The positions of the texts that are longer than the model reads."""
        return sorted({position for part, block in self._read for position in part.positions(block.truncated)})

    def encode(self, *, timeout: float | None = None) -> "NDArray[np.float32]":
        """The vectors of the texts, float32 (number of texts, dims), in their order. May be called again.

        Args:
            timeout: seconds after which to give up.

        Raises:
            EncodeTimeoutError: the time is over; nothing more is computed.
            OptionError: `timeout` is not a number.
            BackendError: the engine failed.
        """
        from embedry._pipeline.scheduler import Request

        return self._compute(Request(checked_timeout(timeout)))

    def __len__(self) -> int:
        return len(self._inverse)

    @property
    def _inverse(self) -> list[int]:
        return self._read[0][0].inverse if self._read else []
