"""The protocols of embedders and of other kinds of models.

They are as small as possible: any object with these members satisfies them. `BaseEmbedder` adds to
`Embedder` the methods that an ecosystem already knows, each derived from `encode`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedry.ragged import SparseVectors, TokenVectors

_STREAM_BLOCK = 1024


class _Model(Protocol):
    """What models of all kinds have."""

    @property
    def name(self) -> str:
        """The model's name in the registry."""

    @property
    def dims(self) -> int:
        """Length of every vector; of a sparse model the terms of its vocabulary, of a reranker the scores of a pair."""

    @property
    def max_seq_length(self) -> int:
        """Tokens read of each text, or of each pair, special tokens included."""


@runtime_checkable
class Embedder(_Model, Protocol):
    """Turns texts into vectors. Safe to call from many threads."""

    def encode(self, texts: Iterable[str], *, role: str) -> "NDArray[np.float32]":
        """Vectors of the texts, float32 (number of texts, dims), in their order; (0, dims) for none.

        Args:
            texts: an iterable of `str`, not a single `str`. An empty string is a valid text.
            role: "query" for search queries, "document" for the texts that are searched, or a task that the model's entry
                defines. It selects the prompt; with a wrong one, many models lose much of their quality. "unprompted" adds no
                prompt, for texts that already contain it.

        Raises:
            TextTypeError: a text is not a `str`.
            TextError: a text is not valid Unicode, or too long under on_overflow="error".
            OptionError: the model has no such role.
            FilesError: on first use, if the model's files are missing or wrong.
        """


@runtime_checkable
class Reranker(_Model, Protocol):
    """Scores pairs of a query and a document. Safe to call from many threads."""

    def score(self, pairs: Iterable[tuple[str, str]]) -> "NDArray[np.float64]":
        """How well each document answers its query, float64 (pairs,), in their order. Errors as `Embedder.encode`."""

    def rank(self, query: str, documents: Iterable[str], *, top_k: int | None = None) -> "Sequence[tuple[int, float]]":
        """Positions of documents and their scores, the best first; equal ones in the order given."""


@runtime_checkable
class SparseEmbedder(_Model, Protocol):
    """Turns texts into weights of the terms of a vocabulary. Safe to call from many threads."""

    def encode(self, texts: Iterable[str], *, role: str) -> "SparseVectors":
        """The texts' weights, in their order. Arguments and errors as `Embedder.encode`."""


@runtime_checkable
class MultiVectorEmbedder(_Model, Protocol):
    """Turns texts into a vector for each token. Safe to call from many threads."""

    def encode(self, texts: Iterable[str], *, role: str) -> "TokenVectors":
        """The vectors of the texts' tokens, in their order. Arguments and errors as `Embedder.encode`."""


class BaseEmbedder(ABC):
    """An embedder with all its methods but one: subclass it, set `name`, `dims` and `max_seq_length`, write `encode`."""

    name: str
    """The model's name in the registry."""
    dims: int
    """Length of every vector."""
    max_seq_length: int
    """Tokens read of each text, special tokens included."""

    @abstractmethod
    def encode(self, texts: Iterable[str], *, role: str) -> "NDArray[np.float32]":
        """Vectors of the texts, float32 (number of texts, dims), in their order. See `Embedder.encode`."""

    def encode_stream(self, texts: Iterable[str], *, role: str) -> "Iterator[NDArray[np.float32]]":
        """Streams the vectors of any number of texts: blocks of float32 (texts of the block, dims), in order.

        Memory is bounded: no more than one block is read ahead. An invalid text raises the error that `encode` raises, after
        the vectors of the blocks before it.
        """
        remaining = iter(texts)
        while block := list(islice(remaining, _STREAM_BLOCK)):
            yield self.encode(block, role=role)

    def encode_query(self, texts: Iterable[str]) -> "NDArray[np.float32]":
        """`encode` with role "query", under the name that sentence-transformers gave it."""
        return self.encode(texts, role="query")

    def encode_document(self, texts: Iterable[str]) -> "NDArray[np.float32]":
        """`encode` with role "document", under the name that sentence-transformers gave it."""
        return self.encode(texts, role="document")

    def embed_query(self, text: str) -> list[float]:
        """The vector of one query as plain floats, as LangChain calls it."""
        return cast("list[float]", self.encode([text], role="query")[0].tolist())

    def embed_documents(self, texts: Iterable[str]) -> list[list[float]]:
        """The vectors of documents as plain floats, as LangChain calls it."""
        return cast("list[list[float]]", self.encode(texts, role="document").tolist())

    async def aencode(self, texts: Iterable[str], *, role: str) -> "NDArray[np.float32]":
        """`encode` without blocking the event loop."""
        import asyncio  # a third of the import time of this package, for those who never await

        return await asyncio.to_thread(self.encode, texts, role=role)

    async def aembed_query(self, text: str) -> list[float]:
        """`embed_query` without blocking the event loop."""
        vectors = await self.aencode([text], role="query")
        return cast("list[float]", vectors[0].tolist())

    async def aembed_documents(self, texts: Iterable[str]) -> list[list[float]]:
        """`embed_documents` without blocking the event loop."""
        import asyncio

        vectors = await self.aencode(texts, role="document")
        return cast("list[list[float]]", await asyncio.to_thread(vectors.tolist))  # of many texts it takes a while
