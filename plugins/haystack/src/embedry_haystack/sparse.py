"""Sparse embedders: weights of vocabulary terms, for stores with sparse search."""

import asyncio
from dataclasses import replace
from typing import Any

from haystack import Document, component
from haystack.dataclasses import SparseEmbedding

from embedry import SparseVectors
from embedry_haystack.models import DocumentModel, Model


@component
class EmbedrySparseTextEmbedder(Model):
    """Makes sparse vectors of queries with the query prompt. The first text or `warm_up` loads the model.

    Args:
        model: a value that `embedry.resolve_sparse` accepts or returns.
        options: options of `embedry.resolve_sparse` as plain values: backend, device, threads and so on.
        space: the space saved by `to_dict`; the model must still match it.

    Raises:
        SpaceError: the model does not match `space`.
        UnknownModelError, UnsupportedModelError, OptionError, UnknownOptionError: as `resolve_sparse`.
    """

    kind = "sparse"

    @component.output_types(sparse_embedding=SparseEmbedding, meta=dict[str, Any])
    def run(self, text: str) -> dict[str, Any]:
        """`sparse_embedding`: the terms of the query and their weights; `meta`: the model's name.

        Raises:
            TextTypeError: `text` is not a `str`.
        """
        return {"sparse_embedding": _embedding(self._model.encode_query([text]), 0), "meta": self.meta}

    @component.output_types(sparse_embedding=SparseEmbedding, meta=dict[str, Any])
    async def run_async(self, text: str) -> dict[str, Any]:
        """`run` without blocking the event loop."""
        return {"sparse_embedding": _embedding(await self._model.aencode([text], role="query"), 0), "meta": self.meta}


@component
class EmbedrySparseDocumentEmbedder(DocumentModel):
    """Makes sparse vectors of documents with the document prompt. The first text or `warm_up` loads the model.

    Args:
        model, options, space: as for `EmbedrySparseTextEmbedder`; pass the same values to both.
        meta_fields_to_embed: names of meta fields to prepend to the content.
        embedding_separator: the separator between them.

    Raises:
        TypeError: `meta_fields_to_embed` is a single str.
        SpaceError, UnknownModelError, UnsupportedModelError, OptionError, UnknownOptionError: as for `EmbedrySparseTextEmbedder`.
    """

    kind, for_str = "sparse", "EmbedrySparseTextEmbedder"

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """`documents`: copies in order, each with its `sparse_embedding`; `meta`: the model's name.

        Raises:
            TypeError: `documents` is not a list of `Document`.
        """
        vectors = self._model.encode_document(self._texts(documents))
        return {"documents": _embedded(documents, vectors), "meta": self.meta}

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    async def run_async(self, documents: list[Document]) -> dict[str, Any]:
        """`run` without blocking the event loop."""
        vectors = await self._model.aencode(self._texts(documents), role="document")
        embedded = await asyncio.to_thread(_embedded, documents, vectors)  # of many documents it takes a while
        return {"documents": embedded, "meta": self.meta}


def _embedded(documents: list[Document], vectors: SparseVectors) -> list[Document]:
    return [replace(each, sparse_embedding=_embedding(vectors, place)) for place, each in enumerate(documents)]


def _embedding(vectors: SparseVectors, place: int) -> SparseEmbedding:
    indices, values = vectors[place]
    return SparseEmbedding(indices=indices.tolist(), values=values.tolist())
