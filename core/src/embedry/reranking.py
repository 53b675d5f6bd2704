"""What `resolve_reranker` returns: a model that reads pairs of texts."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from embedry._habits import explained
from embedry._pipeline.texts import each_checked, each_checked_pair
from embedry.errors import OptionError
from embedry.heads import Score
from embedry.lazy import LazyModel
from embedry.options import checked_timeout, is_count
from embedry.prepared import EncodedBlock, Prepared

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Ranked(NamedTuple):
    """A document in the order of a reranker."""

    position: int
    """Of the document in the call."""
    score: float


class LazyReranker(LazyModel[tuple[str, str], "NDArray[np.float32]"], kind="reranker"):
    """What `resolve_reranker` returns: scores of pairs of a query and a document."""

    def _each_checked(self, items: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        return each_checked_pair(items)

    @explained
    def score(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        role: str = "query",
        timeout: float | None = None,
        progress: bool = False,
    ) -> "NDArray[np.float64]":
        """How well each document answers its query, as the model shows it: float64 (pairs,), or (pairs, labels) for several.

        Args:
            pairs: queries and documents. Each text is tokenised once, however many pairs it is in.
            role: decides the prompt of queries: "query", or a task that the model's entry names.
            timeout: seconds after which to give up.
            progress: as in `LazyEmbedder.encode`.

        Raises:
            TextTypeError: a pair is not two `str`.
            TextError: a text is not valid Unicode, or too long under on_overflow="error".
            OptionError: the model has no such role, or `timeout` is not a number.
            EncodeTimeoutError: the time is over.
            FilesError: on first use, if the model's files are missing or wrong.
        """
        return self.shown(self.logits(pairs, role=role, timeout=timeout, progress=progress))

    @explained
    def logits(
        self,
        pairs: Iterable[tuple[str, str]],
        *,
        role: str = "query",
        timeout: float | None = None,
        progress: bool = False,
    ) -> "NDArray[np.float32]":
        """What the model computes, before its activation: float32 (pairs, labels). Arguments and errors as `score`."""
        from embedry._pipeline.requests import Request

        return self._encode(pairs, role, Request(checked_timeout(timeout)), progress=progress)

    async def ascore(self, pairs: Iterable[tuple[str, str]], *, role: str = "query") -> "NDArray[np.float64]":
        """`score` without blocking the event loop. A task that is cancelled drops what is not being computed yet."""
        return self.shown(await self._aencode(pairs, role))

    def score_blocks(
        self, pairs: Iterable[tuple[str, str]], *, role: str = "query"
    ) -> "Generator[EncodedBlock[NDArray[np.float32]], None, None]":
        """Streams the logits of any number of pairs, with their tokens and the positions of truncated ones; see `shown`."""
        return self._encode_blocks(pairs, role)

    def prepare(self, pairs: Iterable[tuple[str, str]], *, role: str = "query") -> "Prepared[NDArray[np.float32]]":
        """Reads the pairs and computes nothing yet: the result knows their tokens, and gives their logits. See `shown`.

        Raises:
            TextTooLongError: one is too long, under on_overflow="error".
            As `score`.
        """
        return self._prepare(pairs, role)

    def count_tokens(self, pairs: Iterable[tuple[str, str]], *, role: str = "query") -> list[int]:
        """How many tokens each pair has, special tokens and prompts included, before truncation. Errors as `score`."""
        return self._count_tokens(pairs, role)

    def rank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        top_k: int | None = None,
        role: str = "query",
        timeout: float | None = None,
    ) -> list[Ranked]:
        """The documents in the order in which they answer the query, the best first; equal ones in the order given.

        They are compared by their logits, which tell apart what an activation makes equal.

        Args:
            query: one text.
            documents: any number of texts.
            top_k: how many to return; None for all.
            role: as in `score`.
            timeout: as in `score`.

        Raises:
            OptionError: `top_k` is not a positive integer, or the model gives several scores for a pair.
            As `score`.
        """
        self.check_ranks()
        if top_k is not None and (not is_count(top_k) or top_k < 1):
            raise OptionError(f"top_k must be a positive integer, or None for all documents, got {top_k!r}")
        pairs = [(query, document) for document in each_checked(documents)]
        return self.ranked(self.logits(pairs, role=role, timeout=timeout), top_k)

    def check_ranks(self) -> None:
        """Raises OptionError if the model gives several scores for a pair, none of which is an order."""
        if self.dims != 1:
            raise OptionError(
                f"{self.name!r} gives {self.dims} scores for a pair, so it does not rank; use score(pairs)"
            )

    def ranked(self, logits: "NDArray[np.float32]", top_k: int | None = None) -> list[Ranked]:
        """The order of documents with these logits, float32 (documents, 1), and their scores."""
        import numpy as np

        order: Sequence[int] = np.argsort(-logits[:, 0], kind="stable")[:top_k].tolist()
        scores = self.shown(logits).tolist()
        return [Ranked(position, scores[position]) for position in order]

    def shown(self, logits: "NDArray[np.float32]") -> "NDArray[np.float64]":
        """The scores that logits are shown as, float64: (pairs, labels) -> (pairs,) for one label, (pairs, labels) for several."""
        import numpy as np

        end, x = self.spec.chain[-1], logits.astype(np.float64)
        if isinstance(end, Score) and end.activation == "sigmoid":
            x = np.exp(-np.logaddexp(0, -x))  # without overflow
        return x[:, 0] if x.shape[1] == 1 else x
