"""embedry for Haystack: dense and sparse embedders for documents and queries, and a ranker.

    from embedry_haystack import EmbedryTextEmbedder

    pipeline.add_component("embedder", EmbedryTextEmbedder("bge-small-en-v1.5"))

A saved pipeline includes the space of its vectors. Loading it raises `SpaceError` if the model makes other vectors now.
"""

from dataclasses import replace
from typing import Any

from haystack import Document, component

from embedry_haystack.models import DocumentModel, Model
from embedry_haystack.rankers import EmbedryRanker
from embedry_haystack.sparse import EmbedrySparseDocumentEmbedder, EmbedrySparseTextEmbedder

__all__ = [
    "EmbedryDocumentEmbedder",
    "EmbedryRanker",
    "EmbedrySparseDocumentEmbedder",
    "EmbedrySparseTextEmbedder",
    "EmbedryTextEmbedder",
]


@component
class EmbedryTextEmbedder(Model):
    """Embeds queries with the query prompt. The first text or `warm_up` loads the model.

    Args:
        model: a value that `embedry.resolve` accepts or returns.
        options: options of `embedry.resolve` as plain values: backend, device, dims and so on.
        space: the space saved by `to_dict`; the model must still match it.

    Raises:
        SpaceError: the model does not match `space`.
        UnknownModelError, OptionError, UnknownOptionError: the model or an option is unknown or not supported.
    """

    @component.output_types(embedding=list[float], meta=dict[str, Any])
    def run(self, text: str) -> dict[str, Any]:
        """`embedding`: the vector of the query, dims floats; `meta`: the model's name.

        Raises:
            TextTypeError: `text` is not a `str`.
        """
        return {"embedding": self._model.embed_query(text), "meta": self.meta}

    @component.output_types(embedding=list[float], meta=dict[str, Any])
    async def run_async(self, text: str) -> dict[str, Any]:
        """`run` without blocking the event loop."""
        return {"embedding": await self._model.aembed_query(text), "meta": self.meta}


@component
class EmbedryDocumentEmbedder(DocumentModel):
    """Embeds documents with the document prompt. The first text or `warm_up` loads the model.

    Args:
        model, options, space: as for `EmbedryTextEmbedder`; pass the same values to both.
        meta_fields_to_embed: names of meta fields to prepend to the content.
        embedding_separator: the separator between them.

    Raises:
        TypeError: `meta_fields_to_embed` is a single str.
        SpaceError, UnknownModelError, OptionError, UnknownOptionError: as for `EmbedryTextEmbedder`.
    """

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """`documents`: copies in order, each with its `embedding`, dims floats; `meta`: the model's name.

        Raises:
            TypeError: `documents` is not a list of `Document`.
        """
        vectors = self._model.embed_documents(self._texts(documents))
        return self._result(documents, vectors)

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    async def run_async(self, documents: list[Document]) -> dict[str, Any]:
        """`run` without blocking the event loop."""
        vectors = await self._model.aembed_documents(self._texts(documents))
        return self._result(documents, vectors)

    def _result(self, documents: list[Document], vectors: list[list[float]]) -> dict[str, Any]:
        embedded = [replace(document, embedding=vector) for document, vector in zip(documents, vectors, strict=True)]
        return {"documents": embedded, "meta": self.meta}
