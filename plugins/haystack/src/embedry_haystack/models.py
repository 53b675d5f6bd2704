"""Base classes of the components: the model, its serialization, and the text of a document."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

from haystack import Document, default_from_dict, default_to_dict

from embedry import ModelSpec, Space
from embedry.chains import Kind
from embedry.lazy import LazyModel
from embedry.resolver import given_or_resolved

AnyModel: TypeAlias = str | Path | ModelSpec | LazyModel[Any, Any]
"""A name, an alias, a repository id, a folder or an entry, or a model that `resolve` or its like returned."""


class Model:
    """A component with a model, which is loaded on first use."""

    kind: ClassVar[Kind] = "dense"

    def __init__(
        self, model: AnyModel, *, options: Mapping[str, Any] | None = None, space: Mapping[str, Any] | None = None
    ) -> None:
        self.model = model
        self.options = dict(options or {})
        self._model: Any = self._opened(space)

    def _opened(self, space: Mapping[str, Any] | None) -> LazyModel[Any, Any]:
        if space is None or isinstance(self.model, LazyModel):
            return given_or_resolved(self.kind, self.model, **self.options)
        return replace(Space.from_dict(space), model=str(self.model)).resolve_model(**self.options)

    def warm_up(self) -> None:
        """Loads the model, once."""
        self._model.load()

    async def warm_up_async(self) -> None:
        """`warm_up` without blocking the event loop."""
        await asyncio.to_thread(self._model.load)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, including the space of the results."""
        space = Space.of(self._model).as_dict()
        return default_to_dict(self, model=space["model"], options=self.options, space=space)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Restores the component from `to_dict`.

        Raises:
            SpaceError: the model makes other results now.
        """
        return default_from_dict(cls, data)

    @property
    def meta(self) -> dict[str, Any]:
        """Metadata of the model, returned with its results."""
        return {"model": self._model.name}


class DocumentModel(Model):
    """A component that processes documents."""

    for_str: ClassVar[str] = "EmbedryTextEmbedder"
    """What to use where a str is given for a document."""

    def __init__(
        self,
        model: AnyModel,
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
        Model.__init__(
            self, model, options=options, space=space
        )  # `component` creates a new class, in which super() fails
        self.meta_fields_to_embed = meta_fields_to_embed or []
        self.embedding_separator = embedding_separator

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, including the space of the results."""
        saved = Model.to_dict(self)
        saved["init_parameters"] |= {
            "meta_fields_to_embed": self.meta_fields_to_embed,
            "embedding_separator": self.embedding_separator,
        }
        return saved

    def _texts(self, documents: list[Document]) -> list[str]:
        if isinstance(documents, Document):
            raise TypeError("documents must be a list of Document, got one Document; write [document]")
        for document in documents:
            if not isinstance(document, Document):
                raise TypeError(
                    f"documents must be a list of Document, got {document!r} in it; use {self.for_str} for a str"
                )
        return [self._text(document) for document in documents]

    def _text(self, document: Document) -> str:
        values = (document.meta.get(field) for field in self.meta_fields_to_embed)
        parts = [str(value) for value in values if value is not None]
        return self.embedding_separator.join([*parts, document.content or ""])
