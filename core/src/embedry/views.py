"""What `resolve` and its like return, a class for each kind of model."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from embedry._files import sources
from embedry._pipeline.texts import each_checked, each_checked_pair
from embedry.embedder import BaseEmbedder
from embedry.errors import OptionError
from embedry.heads import Score
from embedry.lazy import LazyModel, shared
from embedry.options import checked_timeout
from embedry.prepared import EncodedBlock, Prepared, Result, Token
from embedry.ragged import SparseVectors, TokenVectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedry._pipeline.pipeline import Pipeline


class LazyTextModel(LazyModel[str, Result]):
    """A model that reads texts: embedders of all kinds."""

    def _each_checked(self, items: Iterable[str]) -> Iterator[str]:
        return each_checked(items)

    def encode(self, texts: Iterable[str], *, role: str, timeout: float | None = None) -> Result:
        """The results of the texts, in their order. What can be wrong with the call is found before the model is loaded.

        Args:
            texts: an iterable of `str`.
            role: "query", "document", or a task that the model's entry names.
            timeout: seconds after which to give up; what is not being computed by then is dropped.

        Raises:
            EncodeTimeoutError: the time is over.
            OptionError: `timeout` is not a number.
            As `Embedder.encode`.
        """
        from embedry._pipeline.requests import Request

        return self._encode(texts, role, Request(checked_timeout(timeout)))

    async def aencode(self, texts: Iterable[str], *, role: str) -> Result:
        """`encode` without blocking the event loop. A task that is cancelled drops what is not being computed yet."""
        return await self._aencode(texts, role)

    def encode_query(self, texts: Iterable[str]) -> Result:
        """`encode` with role "query"."""
        return self.encode(texts, role="query")

    def encode_document(self, texts: Iterable[str]) -> Result:
        """`encode` with role "document"."""
        return self.encode(texts, role="document")

    def encode_stream(self, texts: Iterable[str], *, role: str) -> Iterator[Result]:
        """Streams the results of any number of texts in blocks, in order, see `BaseEmbedder.encode_stream`.

        The role and the kind of `texts` are checked at once, each text when it comes.
        """
        return _results(self.encode_blocks(texts, role=role))

    def encode_blocks(self, texts: Iterable[str], *, role: str) -> Generator[EncodedBlock[Result], None, None]:
        """`encode_stream` that also gives the number of tokens of each text, and the positions of truncated ones."""
        return self._encode_blocks(texts, role)

    def prepare(self, texts: Iterable[str], *, role: str) -> Prepared[Result]:
        """Reads the texts and computes nothing yet: the result knows their tokens, and which of them are too long.

        Raises:
            TextTooLongError: one is too long, under on_overflow="error".
            As `Embedder.encode`.
        """
        return self._prepare(texts, role)

    def count_tokens(self, texts: Iterable[str], *, role: str) -> list[int]:
        """How many tokens each text has, however long it is: with the role's prompt and special tokens, before truncation.

        A text fits if it has no more than `max_seq_length`.

        Raises:
            As `Embedder.encode`.
        """
        return self._count_tokens(texts, role)

    def tokenize(self, texts: Iterable[str], *, role: str) -> list[list[Token]]:
        """The tokens of each text, however long it is; the model reads no more than `max_seq_length` of them.

        Raises:
            UnsupportedModelError: the engine reads texts in its own way.
            As `Embedder.encode`.
        """
        found = self._checked(texts, role)
        return self._pipeline(role).engine.reader.tokenize(found, role, self.config) if found else []


class LazyEmbedder(LazyTextModel["NDArray[np.float32]"], BaseEmbedder, kind="dense"):
    """What `resolve` returns: `encode` gives float32 (number of texts, dims)."""


class LazyMultiVectorEmbedder(LazyTextModel[TokenVectors], kind="multi_vector"):
    """What `resolve_multi_vector` returns: `encode` gives `TokenVectors`, to be compared by `embedry.maxsim`."""


class LazySparseEmbedder(LazyTextModel[SparseVectors], kind="sparse"):
    """What `resolve_sparse` returns: `encode` gives `SparseVectors`.

    Of an inference-free model, queries are read by a table of terms that is loaded alone.
    """

    @cached_property
    def _queries(self) -> "LazySparseEmbedder | None":
        from dataclasses import replace

        spec = self.spec
        if not spec.query_chain:
            return None
        own = replace(
            self.config,
            spec=spec.for_queries,
            chain=spec.query_chain,
            backend="static",
            device="cpu",
            precision="fp32",
            stamps=sources.stamps(spec.for_queries),
        )
        view = shared(own)
        assert isinstance(view, LazySparseEmbedder)  # noqa: S101
        return view

    def _pipeline(self, role: str) -> "Pipeline":
        if role == "query" and self._queries is not None:
            return self._queries._pipeline(role)
        return super()._pipeline(role)


class Ranked(NamedTuple):
    """A document in the order of a reranker."""

    position: int
    """Of the document in the call."""
    score: float


class LazyReranker(LazyModel[tuple[str, str], "NDArray[np.float32]"], kind="reranker"):
    """What `resolve_reranker` returns: scores of pairs of a query and a document."""

    def _each_checked(self, items: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
        return each_checked_pair(items)

    def score(
        self, pairs: Iterable[tuple[str, str]], *, role: str = "query", timeout: float | None = None
    ) -> "NDArray[np.float64]":
        """How well each document answers its query, as the model shows it: float64 (pairs,), or (pairs, labels) for several.

        Args:
            pairs: queries and documents. Each text is tokenised once, however many pairs it is in.
            role: decides the prompt of queries: "query", or a task that the model's entry names.
            timeout: seconds after which to give up.

        Raises:
            TextTypeError: a pair is not two `str`.
            TextError: a text is not valid Unicode, or too long under on_overflow="error".
            OptionError: the model has no such role, or `timeout` is not a number.
            EncodeTimeoutError: the time is over.
            FilesError: on first use, if the model's files are missing or wrong.
        """
        return self.shown(self.logits(pairs, role=role, timeout=timeout))

    def logits(
        self, pairs: Iterable[tuple[str, str]], *, role: str = "query", timeout: float | None = None
    ) -> "NDArray[np.float32]":
        """What the model computes, before its activation: float32 (pairs, labels). Arguments and errors as `score`."""
        from embedry._pipeline.requests import Request

        return self._encode(pairs, role, Request(checked_timeout(timeout)))

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
        if top_k is not None and (not isinstance(top_k, int) or isinstance(top_k, bool) or top_k < 1):
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


def _results(blocks: Generator[EncodedBlock[Result], None, None]) -> Iterator[Result]:
    with closing(blocks):  # a stream that is closed stops at once
        for block in blocks:
            yield block.vectors
