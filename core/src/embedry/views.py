"""What `resolve`, `resolve_sparse` and `resolve_multi_vector` return, a class for each kind of model that reads texts."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING

from embedry import similarity
from embedry._files import sources
from embedry._habits import explained
from embedry._pipeline.texts import each_checked
from embedry.embedder import BaseEmbedder
from embedry.lazy import LazyModel, shared
from embedry.options import checked_timeout
from embedry.prepared import EncodedBlock, Passage, Prepared, Result, Token
from embedry.ragged import SparseVectors, TokenVectors
from embedry.similarity import Hits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from embedry._pipeline.pipeline import Pipeline
    from embedry._pipeline.requests import Request
    from embedry.options import Config
    from embedry.vector_cache import VectorCache


class LazyTextModel(LazyModel[str, Result]):
    """A model that reads texts: embedders of all kinds."""

    def _each_checked(self, items: Iterable[str]) -> Iterator[str]:
        return each_checked(items)

    @explained
    def encode(
        self, texts: Iterable[str], *, role: str, timeout: float | None = None, progress: bool = False
    ) -> Result:
        """The results of the texts, in their order. Invalid arguments raise an error before the model is loaded.

        Args:
            texts: an iterable of `str`.
            role: "query", "document", or a task that the model's entry names.
            timeout: seconds until the call fails; batches that have not started by then are dropped.
            progress: show a progress bar, on stderr if it is a terminal, or in a notebook.

        Raises:
            EncodeTimeoutError: the timeout has passed.
            OptionError: `timeout` is not a number.
            Those of `Embedder.encode`.
        """
        from embedry._pipeline.requests import Request

        return self._encode(texts, role, Request(checked_timeout(timeout)), progress=progress)

    async def aencode(self, texts: Iterable[str], *, role: str) -> Result:
        """`encode` without blocking the event loop. Cancelling the task drops the batches that have not started."""
        return await self._aencode(texts, role)

    @explained
    def encode_query(self, texts: Iterable[str], *, timeout: float | None = None, progress: bool = False) -> Result:
        """`encode` with role "query"."""
        return self.encode(texts, role="query", timeout=timeout, progress=progress)

    @explained
    def encode_document(self, texts: Iterable[str], *, timeout: float | None = None, progress: bool = False) -> Result:
        """`encode` with role "document"."""
        return self.encode(texts, role="document", timeout=timeout, progress=progress)

    @explained
    def encode_stream(self, texts: Iterable[str], *, role: str) -> Iterator[Result]:
        """Streams the results of any number of texts in blocks, in order, see `BaseEmbedder.encode_stream`.

        The role and the type of `texts` are checked immediately, each text when it is read.
        """
        return self._stream(texts, role)

    def _stream(self, texts: Iterable[str], role: str) -> Iterator[Result]:
        return _results(self.encode_blocks(texts, role=role), self.config)

    def encode_blocks(self, texts: Iterable[str], *, role: str) -> Generator[EncodedBlock[Result], None, None]:
        """`encode_stream` that also gives the number of tokens of each text, and the positions of truncated ones."""
        return self._encode_blocks(texts, role)

    def prepare(self, texts: Iterable[str], *, role: str) -> Prepared[Result]:
        """Tokenizes the texts without computing vectors yet: the result has their token counts and which of them are too long.

        Raises:
            TextTooLongError: one is too long, under on_overflow="error".
            As `Embedder.encode`.
        """
        return self._prepare(texts, role)

    def count_tokens(self, texts: Iterable[str], *, role: str) -> list[int]:
        """The number of tokens of each whole text, with the role's prompt and special tokens, before truncation.

        A text fits if it has at most `max_seq_length` tokens.

        Raises:
            As `Embedder.encode`.
        """
        return self._count_tokens(texts, role)

    def tokenize(self, texts: Iterable[str], *, role: str) -> list[list[Token]]:
        """The tokens of each whole text; the model reads at most the first `max_seq_length` of them.

        Raises:
            UnsupportedModelError: the engine tokenizes texts itself.
            Those of `Embedder.encode`.
        """
        found = self._checked(texts, role)
        return self._pipeline(role).engine.reader.tokenize(found, role, self.config) if found else []

    def split(self, text: str, *, tokens: int | None = None, overlap: int = 0) -> list[Passage]:
        """Splits a text that is longer than the model reads, or too long for one vector, into passages.

        A passage ends at a heading, a paragraph, a sentence, a line or a word: the best boundary in its second half.

        Args:
            text: a text of any length.
            tokens: the maximum per passage, as `count_tokens` counts them; by default 256, or the model's maximum if that
                is less.
            overlap: the maximum number of tokens that a passage shares with the one before it.

        Returns:
            The passages in order, each with its position in the text; none if the text is only whitespace.

        Raises:
            OptionError: `tokens` is more than the model reads or too small, or `overlap` is not less than half of it.
            UnsupportedModelError: the engine tokenizes texts itself.
            Those of `Embedder.encode`.
        """
        (text,) = self._checked([text], "document")
        from embedry._pipeline import splitting

        reader, config = self._pipeline("document").engine.reader, self.config

        def lengths(texts: Sequence[str]) -> list[int]:
            return reader.lengths(texts, "document", config)

        most = splitting.checked_tokens(tokens, overlap, least=lengths([""])[0] + 1, most=config.length("document"))
        return list(splitting.passages(text, reader.starts, lengths, tokens=most, overlap=overlap))


class LazyEmbedder(LazyTextModel["NDArray[np.float32]"], BaseEmbedder, kind="dense"):
    """What `resolve` returns: `encode` gives float32 (number of texts, dims)."""

    @cached_property
    def vector_cache(self) -> "VectorCache | None":
        """The vectors on disk, with the option `vector_cache`; else None. `encode_blocks` and `prepare` do not use it."""
        folder = self.config.vector_cache
        if folder is None:
            return None
        from embedry.vector_cache import VectorCache

        name = f"{self.name.replace('/', '--')}-{self.config.precision or 'default'}-{self.fingerprint}.sqlite"
        return VectorCache(folder / name, self.dims)

    def _computed(self, items: list[str], role: str, request: "Request") -> "NDArray[np.float32]":
        cache = self.vector_cache
        if cache is None:
            return super()._computed(items, role, request)

        def compute(missing: list[str]) -> "Iterator[tuple[list[str], NDArray[np.float32]]]":
            remaining = iter(missing)
            for block in self._pipeline(role).stream(missing, request):
                yield list(islice(remaining, len(block.vectors))), block.vectors

        return cache.encode(items, role, compute, request.advance)

    def _stream(self, texts: Iterable[str], role: str) -> "Iterator[NDArray[np.float32]]":
        if self.vector_cache is None:
            return super()._stream(texts, role)
        checked = self._each_checked(texts)
        self.spec.prompt(role)
        return BaseEmbedder.encode_stream(self, checked, role=role)

    def similarity(self, left: "ArrayLike", right: "ArrayLike") -> "NDArray[np.float32]":
        """The similarity of vectors, by the measure that the model was trained for. Higher is more similar; distances are negated.

        Args:
            left: vectors of this embedder, (n, dims), or one, (dims,).
            right: vectors of this embedder, (m, dims), or one, (dims,).

        Returns:
            float32 (n, m).

        Raises:
            OptionError: the vectors have another length.
        """
        return similarity.matrix(
            self.spec.similarity,
            similarity.as_rows(left, self.dims, "left"),
            similarity.as_rows(right, self.dims, "right"),
        )

    def top_k(self, queries: "ArrayLike", documents: "ArrayLike", k: int = 10) -> Hits:
        """The documents most similar to each query, by the measure that the model was trained for.

        Args:
            queries: vectors of `encode_query`, (n, dims), or one, (dims,).
            documents: vectors of `encode_document`, (m, dims).
            k: how many to return; all if there are fewer.

        Returns:
            Positions of documents and their scores, (n, k) each, the best first.

        Raises:
            OptionError: `k` is not a positive integer, or the vectors have another length.
        """
        return similarity.top_k(
            self.spec.similarity,
            similarity.as_rows(queries, self.dims, "queries"),
            similarity.as_rows(documents, self.dims, "documents"),
            k,
        )


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


def _results(blocks: Generator[EncodedBlock[Result], None, None], config: "Config") -> Iterator[Result]:
    from embedry._pipeline.overflow import note_truncation

    with closing(blocks):  # a stream that is closed stops at once
        for block in blocks:
            note_truncation(block.truncated, config)
            yield block.vectors
