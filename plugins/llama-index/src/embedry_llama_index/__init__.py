"""embedry for LlamaIndex: `EmbedryEmbedding` is a model for an index or a step of an ingestion pipeline.

    from embedry_llama_index import EmbedryEmbedding

    index = VectorStoreIndex.from_documents(documents, embed_model=EmbedryEmbedding("bge-small-en-v1.5"))

LlamaIndex saves it with the space of its vectors. Loading it raises `SpaceError` if the model makes other vectors now.
`EmbedryRerank` reranks the results of a retriever, and `EmbedrySparse` makes sparse vectors for hybrid search.
"""

from collections.abc import Mapping
from typing import Any

from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.embeddings import BaseEmbedding
from pydantic import computed_field

from embedry import OptionError, Space, resolve
from embedry.views import LazyEmbedder
from embedry_llama_index.reranking import EmbedryRerank
from embedry_llama_index.sparse import EmbedrySparse

__all__ = ["EmbedryEmbedding", "EmbedryRerank", "EmbedrySparse"]


class EmbedryEmbedding(BaseEmbedding):
    """An embedry model for LlamaIndex. The first text loads the model.

    Queries and texts each get the prompt of their role. The async methods do not block the event loop.
    """

    options: dict[str, str | int | bool | None] = Field(
        default_factory=dict, description="Options of `embedry.resolve`: backend, device, dims and so on."
    )
    _embedder: LazyEmbedder = PrivateAttr()

    def __init__(
        self,
        model_name: str,
        *,
        options: Mapping[str, str | int | bool | None] | None = None,
        embed_batch_size: int = 2048,
        space: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        """Finds the model in the registry and checks the options.

        Args:
            model_name: a name that `embedry.resolve` accepts.
            options: options of `embedry.resolve`.
            embed_batch_size: texts per call, at most 2048; embedry chooses the batches for the model itself.
            space: the saved space; the model must still match it.
            **fields: the other fields of `BaseEmbedding`, such as callback_manager and num_workers.

        Raises:
            SpaceError: the model does not match `space`.
            OptionError: an option is not supported by this model, or an embeddings_cache is given.
            UnknownModelError, UnknownOptionError: the model or an option is unknown.
        """
        if fields.get("embeddings_cache") is not None:
            raise OptionError(
                "embeddings_cache must be None, because its key is the text alone: a query would get a document's vector, and "
                "one model another's; use the cache of an IngestionPipeline, whose key includes the model"
            )
        super().__init__(
            model_name=model_name,
            options=dict(options or {}),  # type: ignore[call-arg]  # a field of this class, not of the base
            embed_batch_size=embed_batch_size,
            **fields,
        )
        self._embedder = resolve(model_name, **self.options)  # type: ignore[arg-type]
        if space is not None:
            Space.from_dict(space).check(self._embedder)

    @computed_field(repr=False)  # type: ignore[prop-decorator]
    @property
    def space(self) -> dict[str, Any]:
        """The space of the vectors, `embedry.Space` as plain values; saved with the object."""
        return Space.of(self._embedder).as_dict()

    @classmethod
    def class_name(cls) -> str:
        """The class name that LlamaIndex saves."""
        return "EmbedryEmbedding"

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        return state | {"__dict__": state["__dict__"] | {"space": self.space}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # The base class restores the fields even where __init__ raises, which would open another space.
        self.__init__(**state["__dict__"])  # type: ignore[misc]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._embedder.embed_query(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._embedder.embed_documents([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._embedder.embed_documents(texts)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await self._embedder.aembed_query(query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._embedder.aembed_documents([text]))[0]

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await self._embedder.aembed_documents(texts)
