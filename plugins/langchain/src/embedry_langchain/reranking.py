"""Rerankers for LangChain: a document compressor, and a cross-encoder for LangChain's own reranker."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias, Unpack

from langchain_core.callbacks import Callbacks
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import Field, PrivateAttr

from embedry import LazyReranker, ModelSpec, RerankerOptions
from embedry.resolver import ranking

RerankerModel: TypeAlias = str | Path | ModelSpec | LazyReranker
"""A name, an alias, a repository id, a folder or an entry, as `resolve_reranker` takes it, or what it returned."""


class EmbedryCrossEncoder(BaseCrossEncoder):
    """A shared reranker with LangChain's interface, for its `CrossEncoderReranker`. The first pair loads the model.

    Args:
        model: see `RerankerModel`.
        **options: options of `embedry.resolve_reranker`: backend, device, threads and so on.

    Raises:
        OptionError: the model returns several scores per pair, or options are given for a resolved model.
        UnknownModelError, UnsupportedModelError, UnknownOptionError: as `resolve_reranker`.
    """

    def __init__(self, model: RerankerModel, **options: Unpack[RerankerOptions]) -> None:
        self.reranker = ranking(model, **options)

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """The scores of pairs of a query and a document."""
        scores: list[float] = self.reranker.score(text_pairs).tolist()
        return scores

    def __repr__(self) -> str:
        return f"EmbedryCrossEncoder({self.reranker!r})"


class EmbedryReranker(BaseDocumentCompressor):
    """Ranks documents by how well they answer the query, and keeps the best. The first call loads the model.

    Returns copies with the score in the metadata as `relevance_score`.

    Args:
        model: see `RerankerModel`.
        top_n: the number of documents to keep; None for all.
        **options: options of `embedry.resolve_reranker`: backend, device, threads and so on.

    Raises:
        pydantic.ValidationError: `top_n` is not a positive integer.
        As `EmbedryCrossEncoder`.
    """

    top_n: int | None = Field(default=3, ge=1, strict=True)
    _reranker: LazyReranker = PrivateAttr()

    def __init__(self, model: RerankerModel, *, top_n: int | None = 3, **options: Unpack[RerankerOptions]) -> None:
        super().__init__(top_n=top_n)  # type: ignore[call-arg]  # a field of this class, not of the base
        self._reranker = ranking(model, **options)

    @property
    def reranker(self) -> LazyReranker:
        """The shared reranker."""
        return self._reranker

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """The best documents, best first; ties keep their order."""
        ranked = self._reranker.rank(query, [each.page_content for each in documents], top_k=self.top_n)
        return [_scored(documents[position], score) for position, score in ranked]


def _scored(document: Document, score: float) -> Document:
    return document.model_copy(update={"metadata": {**document.metadata, "relevance_score": score}})
