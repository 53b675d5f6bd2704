"""Texts that were read but not computed, and blocks of a stream: vectors together with what is known of their texts."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from embedry.options import checked_timeout

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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

    def __init__(
        self,
        tokens: Sequence[int] | None,
        truncated: Sequence[int],
        compute: "Callable[[float | None], NDArray[np.float32]]",
    ) -> None:
        self.tokens = tokens
        """How many tokens of each text the engine is given, in the order of the texts: the prompt and special tokens count, what was
        truncated does not, and equal texts count each time. None for an engine that reads texts in its own way."""
        self.truncated = truncated
        """The positions of the texts that are longer than the model reads."""
        self._compute = compute

    def encode(self, *, timeout: float | None = None) -> "NDArray[np.float32]":
        """The vectors of the texts, float32 (number of texts, dims), in their order. May be called again.

        Args:
            timeout: seconds after which to give up.

        Raises:
            EncodeTimeoutError: the time is over; nothing more is computed.
            OptionError: `timeout` is not a number.
            BackendError: the engine failed.
        """
        return self._compute(checked_timeout(timeout))
