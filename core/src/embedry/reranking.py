"""`LazyReranker`, the result of `resolve_reranker`: a model that scores pairs of texts."""

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
    """A ranked document."""

    position: int
    """The position of the document in the call."""
    score: float


class LazyReranker(LazyModel[tuple[str, str], "NDArray[np.float32]"], kind="reranker"):
    """A reranker, which scores pairs of a query and a document; the result of `resolve_reranker`."""

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
        """The score of each pair, after the model's activation: float64 (pairs,), or (pairs, labels) for several labels.

        Args:
            pairs: queries and documents. A text that is in several pairs is tokenized once.
            role: selects the prompt of queries: "query", or a task in the model's entry.
            timeout: the maximum number of seconds.
            progress: see `LazyEmbedder.encode`.

        Raises:
            TextTypeError: a pair is not two `str`.
            TextError: a text is not valid Unicode, or too long under on_overflow="error".
            OptionError: the model has no such role, or `timeout` is not a number.
            EncodeTimeoutError: the timeout has passed.
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
        """The scores before the activation: float32 (pairs, labels). For arguments and errors see `score`."""
        from embedry._pipeline.requests import Request

        return self._encode(pairs, role, Request(checked_timeout(timeout)), progress=progress)

    async def ascore(self, pairs: Iterable[tuple[str, str]], *, role: str = "query") -> "NDArray[np.float64]":
        """`score` without blocking the event loop. Cancelling the task drops the batches that have not started."""
        return self.shown(await self._aencode(pairs, role))

    def score_blocks(
        self, pairs: Iterable[tuple[str, str]], *, role: str = "query"
    ) -> "Generator[EncodedBlock[NDArray[np.float32]], None, None]":
        """Streams the logits of any number of pairs, with token counts and positions of truncated pairs; see `shown`."""
        return self._encode_blocks(pairs, role)

    def prepare(self, pairs: Iterable[tuple[str, str]], *, role: str = "query") -> "Prepared[NDArray[np.float32]]":
        """Tokenizes the pairs without computing scores: the result has token counts and computes logits. See `shown`.

        Raises:
            TextTooLongError: a text is too long, under on_overflow="error".
            Those of `score`.
        """
        return self._prepare(pairs, role)

    def count_tokens(self, pairs: Iterable[tuple[str, str]], *, role: str = "query") -> list[int]:
        """The number of tokens of each pair, with special tokens and prompts, before truncation. For errors see `score`."""
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
        """The documents sorted by their scores for the query, best first; ties keep the given order.

        They are sorted by logits, which differ even if an activation saturates.

        Args:
            query: one text.
            documents: any number of texts.
            top_k: the number of documents to return; None for all.
            role: see `score`.
            timeout: see `score`.

        Raises:
            OptionError: `top_k` is not a positive integer, or the model returns several scores per pair.
            Those of `score`.
        """
        self.check_ranks()
        if top_k is not None and (not is_count(top_k) or top_k < 1):
            raise OptionError(f"top_k must be a positive integer, or None for all documents, got {top_k!r}")
        pairs = [(query, document) for document in each_checked(documents)]
        return self.ranked(self.logits(pairs, role=role, timeout=timeout), top_k)

    def check_ranks(self) -> None:
        """Raises OptionError if the model returns several scores per pair, which do not define an order."""
        if self.dims != 1:
            raise OptionError(f"{self.name!r} gives {self.dims} scores per pair, so it cannot rank; use score(pairs)")

    def ranked(self, logits: "NDArray[np.float32]", top_k: int | None = None) -> list[Ranked]:
        """Ranks documents by their logits, float32 (documents, 1)."""
        import numpy as np

        order: Sequence[int] = np.argsort(-logits[:, 0], kind="stable")[:top_k].tolist()
        scores = self.shown(logits).tolist()
        return [Ranked(position, scores[position]) for position in order]

    def shown(self, logits: "NDArray[np.float32]") -> "NDArray[np.float64]":
        """Converts logits to scores, float64: (pairs, labels) -> (pairs,) for one label, (pairs, labels) for several."""
        import numpy as np

        end, x = self.spec.chain[-1], logits.astype(np.float64)
        if isinstance(end, Score) and end.activation == "sigmoid":
            x = np.exp(-np.logaddexp(0, -x))  # without overflow
        return x[:, 0] if x.shape[1] == 1 else x
