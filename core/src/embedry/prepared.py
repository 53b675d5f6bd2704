"""Texts that were read but not computed, and blocks of a stream: vectors together with what is known of their texts."""

from collections.abc import Callable, Coroutine, Generator, Sequence
from time import perf_counter
from typing import Generic, NamedTuple, TypeVar

from embedry.options import checked_timeout

Result = TypeVar("Result")
"""What a model gives for texts: an array of vectors, `SparseVectors` or `TokenVectors`, or of pairs an array of scores."""


class EncodedBlock(NamedTuple, Generic[Result]):
    """Some texts of a stream, in order."""

    vectors: Result
    """What `encode` gives for them: of a dense model float32 (texts of the block, dims)."""
    tokens: Sequence[int] | None
    """How many tokens of each text the engine was given; None for an engine that reads texts in its own way."""
    truncated: Sequence[int]
    """The positions, counted from the first text of the stream, of those that are longer than the model reads."""


class Token(NamedTuple):
    """One token of a text."""

    id: int
    text: str
    """As the vocabulary spells it, such as "##ing"."""
    start: int
    end: int
    """Where it is in the prompt and the text together, in characters; both 0 for most special tokens."""
    special: bool
    """Whether the tokenizer added it, such as [CLS]."""


class Passage(NamedTuple):
    """A part of a text that the model reads to its end, without white space around it."""

    text: str
    start: int
    end: int
    """Where it is in the text, in characters: `text[start:end]`."""
    tokens: int
    """How many the model is given for it as a document, with the prompt and special tokens."""


class Computation(Generic[Result]):
    """Texts that are being computed: `await` it, once, for what `Prepared.encode` gives.

    No thread waits for it. A task that is cancelled while it awaits drops what is not being computed yet. It raises what
    `Prepared.encode` raises. `Prepared.start` makes one.
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
        """Seconds that it waited until the first of it was computed; None as long as nothing is."""
        begun = self._begun()
        return None if begun is None else max(0.0, begun - self._submitted)

    def __await__(self) -> Generator[None, None, Result]:
        return self._vectors().__await__()

    def cancel(self) -> None:
        """Drops what is not being computed yet. From any thread."""
        self._cancel()


class Prepared(Generic[Result]):
    """The texts, or pairs, of one call, read: their tokens are counted, and their results can be computed.

    It keeps the model in memory. `LazyEmbedder.prepare` makes one.
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
        """How many tokens of each text the engine is given, in the order of the texts: the prompt and special tokens count, what was
        truncated does not, and equal texts count each time. None for an engine that reads texts in its own way."""
        self.truncated = truncated
        """The positions of the texts that are longer than the model reads; of pairs, where the document was cut."""
        self.truncated_queries = truncated_queries
        """The positions of the pairs whose query was cut."""
        self._compute = compute
        self._start = start

    def encode(self, *, timeout: float | None = None) -> Result:
        """What `encode` gives for the texts: of a dense model float32 (number of texts, dims). May be called again.

        Args:
            timeout: seconds after which to give up.

        Raises:
            EncodeTimeoutError: the time is over; nothing more is computed.
            OptionError: `timeout` is not a number.
            BackendError: the engine failed.
        """
        return self._compute(checked_timeout(timeout))

    def start(self) -> Computation[Result]:
        """Has the vectors computed without a thread that waits for them, for an event loop: `vectors = await prepared.start()`.

        Raises:
            RuntimeError: no event loop is running in this thread.
        """
        return self._start()
