"""A ranker: reranks documents by how well they answer a query."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from haystack import Document, component

from embedry_haystack.models import AnyModel, DocumentModel


@component
class EmbedryRanker(DocumentModel):
    """Ranks documents, for example the results of several retrievers, with a reranker. The first call or `warm_up` loads the model.

    Args:
        model: a value that `embedry.resolve_reranker` accepts or returns.
        options: options of `embedry.resolve_reranker` as plain values: backend, device, threads and so on.
        top_k: the number of documents to return; None for all.
        meta_fields_to_embed: names of meta fields to prepend to the content.
        embedding_separator: the separator between them.
        space: the space saved by `to_dict`; the model must still return the same scores.

    Raises:
        TypeError: `meta_fields_to_embed` is a single str.
        SpaceError: the model does not match `space`.
        OptionError: the model returns several scores per pair, or an option is not supported.
        UnknownModelError, UnsupportedModelError, UnknownOptionError: as `resolve_reranker`.
    """

    kind, for_str = "reranker", "Document(content=...)"

    def __init__(
        self,
        model: AnyModel,
        *,
        options: Mapping[str, Any] | None = None,
        top_k: int | None = 10,
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
        space: Mapping[str, Any] | None = None,
    ) -> None:
        DocumentModel.__init__(  # `component` creates a new class, in which super() fails
            self,
            model,
            options=options,
            meta_fields_to_embed=meta_fields_to_embed,
            embedding_separator=embedding_separator,
            space=space,
        )
        self._model.check_ranks()
        self.top_k = top_k

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, including the space of the scores."""
        saved = DocumentModel.to_dict(self)
        saved["init_parameters"]["top_k"] = self.top_k
        return saved

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, Any]:
        """`documents`: copies of the best, each with its `score`, best first; `meta`: the model's name.

        Args:
            query: the question.
            documents: the documents to rank. Of several with the same id the last one counts.
            top_k: the number to return; overrides the component's.

        Raises:
            TypeError: `documents` is not a list of `Document`.
            TextTypeError: `query` is not a `str`.
            OptionError: `top_k` is not a positive integer.
        """
        texts = self._texts(documents)
        different = {document.id: (document, text) for document, text in zip(documents, texts, strict=True)}
        found = list(different.values())
        most = self.top_k if top_k is None else top_k
        ranked = self._model.rank(query, [text for _, text in found], top_k=most)
        return {"documents": [replace(found[at][0], score=score) for at, score in ranked], "meta": self.meta}

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    async def run_async(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, Any]:
        """`run` without blocking the event loop."""
        return await asyncio.to_thread(self.run, query, documents, top_k)
