"""Tokenized texts that are not encoded yet, and blocks of a stream."""

from collections.abc import Callable, Coroutine, Generator, Sequence
from time import perf_counter
from typing import Generic, NamedTuple, TypeVar

from embedry.options import checked_timeout

Result = TypeVar("Result")
"""The result for texts: an array of vectors, `SparseVectors` or `TokenVectors`; for pairs, an array of scores."""


class EncodedBlock(NamedTuple, Generic[Result]):
    """Results for some consecutive texts of a stream."""

    vectors: Result
    """The same as `encode` returns; for a dense model, float32 (texts of the block, dims)."""
    tokens: Sequence[int] | None
    """The number of tokens of each text that the engine received; None for an engine that takes texts."""
    truncated: Sequence[int]
    """The positions in the stream of truncated texts."""


class Token(NamedTuple):
    """One token of a text."""

    id: int
    text: str
    """Its spelling in the vocabulary, such as "##ing"."""
    start: int
    end: int
    """Its position in the prompt followed by the text, in characters; both 0 for most special tokens."""
    special: bool
    """Whether the tokenizer added it, such as [CLS]."""


class Passage(NamedTuple):
    """A part of a text that fits into the model, without surrounding whitespace."""

    text: str
    start: int
    end: int
    """Its position in the text, in characters: `text[start:end]`."""
    tokens: int
    """Its number of tokens as a document, with the prompt and special tokens."""


class Computation(Generic[Result]):
    """A running computation: `await` it once for the result of `Prepared.encode`.

    It does not block a thread. Cancelling a task that awaits it drops the batches that have not started. It raises the same
    errors as `Prepared.encode`. Create it with `Prepared.start`.
    """

    def __init__(
        self,
        vectors: Callable[[], Coroutine[None, None, Result]],
        *,
        begun: Callable[[], float | None],
        cancel: Callable[[], None],
    ) -> None:
        self._vectors = vectors
        self._begun = begun
        self._cancel = cancel
        self._submitted = perf_counter()

    @property
    def queued(self) -> float | None:
        """Seconds until its first batch started; None before that."""
        begun = self._begun()
        return None if begun is None else max(0.0, begun - self._submitted)

    def __await__(self) -> Generator[None, None, Result]:
        return self._vectors().__await__()

    def cancel(self) -> None:
        """Drops the batches that have not started. Can be called from any thread."""
        self._cancel()


class Prepared(Generic[Result]):
    """The tokenized texts or pairs of one call, with their numbers of tokens.

    It keeps the model in memory. Create it with `LazyEmbedder.prepare`.
    """

    def __init__(
        self,
        tokens: Sequence[int] | None,
        truncated: Sequence[int],
        truncated_queries: Sequence[int] = (),
        *,
        compute: Callable[[float | None], Result],
        start: "Callable[[], Computation[Result]]",
    ) -> None:
        self.tokens = tokens
        """The number of tokens of each text that the engine receives, in the order of the texts, with the prompt and special
        tokens, after truncation. Equal texts are counted each time. None for an engine that takes texts."""
        self.truncated = truncated
        """The positions of truncated texts; for pairs, of those with a truncated document."""
        self.truncated_queries = truncated_queries
        """The positions of pairs with a truncated query."""
        self._compute = compute
        self._start = start

    def encode(self, *, timeout: float | None = None) -> Result:
        """Returns the same as `encode`; for a dense model, float32 (number of texts, dims). Can be called again.

        Args:
            timeout: the maximum number of seconds.

        Raises:
            EncodeTimeoutError: the timeout has passed; remaining batches are dropped.
            OptionError: `timeout` is not a number.
            BackendError: the engine failed.
        """
        return self._compute(checked_timeout(timeout))

    def start(self) -> Computation[Result]:
        """Starts the computation without blocking a thread, for an event loop: `vectors = await prepared.start()`.

        Raises:
            RuntimeError: no event loop is running in this thread.
        """
        return self._start()
