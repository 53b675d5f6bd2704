"""embedry in Haystack: `EmbedryDocumentEmbedder` for documents, `EmbedryTextEmbedder` for queries.

    from embedry_haystack import EmbedryTextEmbedder

    pipeline.add_component("embedder", EmbedryTextEmbedder("bge-small-en-v1.5"))

A saved pipeline includes the space of its vectors, and opens again only while the model makes the same vectors.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

from haystack import Document, component, default_from_dict, default_to_dict

from embedry import Space, resolve

__all__ = ["EmbedryDocumentEmbedder", "EmbedryTextEmbedder"]


class _Model:
    """What the two components share: a model, and how a pipeline saves it."""

    def __init__(
        self, model: str, *, options: Mapping[str, Any] | None = None, space: Mapping[str, Any] | None = None
    ) -> None:
        self.model = model
        self.options = dict(options or {})
        self._embedder = resolve(model, **self.options)
        if space is not None:
            Space.from_dict(space).check(self._embedder)

    def warm_up(self) -> None:
        """Loads the model, once."""
        self._embedder.load()

    async def warm_up_async(self) -> None:
        """`warm_up` without blocking the event loop."""
        await asyncio.to_thread(self._embedder.load)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, the space of the vectors among them."""
        space = Space.of(self._embedder).as_dict()
        return default_to_dict(self, model=self.model, options=self.options, space=space)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Restores the component from `to_dict`.

        Raises:
            SpaceError: the model now makes other vectors.
        """
        return default_from_dict(cls, data)


@component
class EmbedryTextEmbedder(_Model):
    """Embeds queries, with the prompt of a query. Making one loads nothing.

    Args:
        model: what `embedry.resolve` takes as a name.
        options: options of `embedry.resolve` as plain values: backend, device, dims and so on.
        space: the space that `to_dict` saved; the model must still make its vectors.

    Raises:
        SpaceError: the model does not make the vectors of `space`.
        UnknownModelError, OptionError, UnknownOptionError: there is no such model or option.
    """

    @component.output_types(embedding=list[float], meta=dict[str, Any])
    def run(self, text: str) -> dict[str, Any]:
        """`embedding`: the vector of the query, dims floats; `meta`: the model's name.

        Raises:
            TextTypeError: `text` is not a `str`.
        """
        return {"embedding": self._embedder.embed_query(text), "meta": {"model": self._embedder.name}}

    @component.output_types(embedding=list[float], meta=dict[str, Any])
    async def run_async(self, text: str) -> dict[str, Any]:
        """`run` without blocking the event loop."""
        return {"embedding": await self._embedder.aembed_query(text), "meta": {"model": self._embedder.name}}


@component
class EmbedryDocumentEmbedder(_Model):
    """Embeds documents, with the prompt of a document. Making one loads nothing.

    Args:
        model, options, space: as for `EmbedryTextEmbedder`; give both the same.
        meta_fields_to_embed: names of meta fields whose values are put before the content.
        embedding_separator: what stands between them.

    Raises:
        TypeError: `meta_fields_to_embed` is a single str.
        SpaceError, UnknownModelError, OptionError, UnknownOptionError: as for `EmbedryTextEmbedder`.
    """

    def __init__(
        self,
        model: str,
        *,
        options: Mapping[str, Any] | None = None,
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
        space: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(meta_fields_to_embed, str):
            raise TypeError(
                f"meta_fields_to_embed must be a list of str, got {meta_fields_to_embed!r}; write [{meta_fields_to_embed!r}]"
            )
        _Model.__init__(self, model, options=options, space=space)  # `component` makes a new class, where super() fails
        self.meta_fields_to_embed = meta_fields_to_embed or []
        self.embedding_separator = embedding_separator

    def to_dict(self) -> dict[str, Any]:
        """Plain values, the space of the vectors among them."""
        saved = _Model.to_dict(self)
        saved["init_parameters"] |= {
            "meta_fields_to_embed": self.meta_fields_to_embed,
            "embedding_separator": self.embedding_separator,
        }
        return saved

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """`documents`: copies in their order, each with its `embedding`, dims floats; `meta`: the model's name.

        Raises:
            TypeError: `documents` is not a list of `Document`.
        """
        vectors = self._embedder.embed_documents(self._texts(documents))
        return self._result(documents, vectors)

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    async def run_async(self, documents: list[Document]) -> dict[str, Any]:
        """`run` without blocking the event loop."""
        vectors = await self._embedder.aembed_documents(self._texts(documents))
        return self._result(documents, vectors)

    def _texts(self, documents: list[Document]) -> list[str]:
        if isinstance(documents, Document):
            raise TypeError("documents must be a list of Document, got one Document; write [document]")
        for document in documents:
            if not isinstance(document, Document):
                raise TypeError(
                    f"documents must be a list of Document, got {document!r} in it; use EmbedryTextEmbedder for a str"
                )
        return [self._text(document) for document in documents]

    def _text(self, document: Document) -> str:
        values = (document.meta.get(field) for field in self.meta_fields_to_embed)
        parts = [str(value) for value in values if value is not None]
        return self.embedding_separator.join([*parts, document.content or ""])

    def _result(self, documents: list[Document], vectors: list[list[float]]) -> dict[str, Any]:
        embedded = [replace(document, embedding=vector) for document, vector in zip(documents, vectors, strict=True)]
        return {"documents": embedded, "meta": {"model": self._embedder.name}}
