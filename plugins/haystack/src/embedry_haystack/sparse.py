"""Sparse embedders: weights of the terms of a vocabulary, for stores that search by them."""

import asyncio
from dataclasses import replace
from typing import Any

from haystack import Document, component
from haystack.dataclasses import SparseEmbedding

from embedry import SparseVectors
from embedry_haystack.models import DocumentModel, Model


@component
class EmbedrySparseTextEmbedder(Model):
    """Makes sparse vectors of queries, with the prompt of a query. Making one loads nothing.

    Args:
        model: what `embedry.resolve_sparse` takes or returns.
        options: options of `embedry.resolve_sparse` as plain values: backend, device, threads and so on.
        space: the space that `to_dict` saved; the model must still make its vectors.

    Raises:
        SpaceError: the model does not make the vectors of `space`.
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
    """Makes sparse vectors of documents, with the prompt of a document. Making one loads nothing.

    Args:
        model, options, space: as for `EmbedrySparseTextEmbedder`; give both the same.
        meta_fields_to_embed: names of meta fields whose values are put before the content.
        embedding_separator: what stands between them.

    Raises:
        TypeError: `meta_fields_to_embed` is a single str.
        SpaceError, UnknownModelError, UnsupportedModelError, OptionError, UnknownOptionError: as for `EmbedrySparseTextEmbedder`.
    """

    kind, for_str = "sparse", "EmbedrySparseTextEmbedder"

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """`documents`: copies in their order, each with its `sparse_embedding`; `meta`: the model's name.

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
