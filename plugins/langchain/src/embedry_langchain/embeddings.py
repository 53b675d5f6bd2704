"""embedry as LangChain's `Embeddings`."""

from typing import Unpack

from langchain_core.embeddings import Embeddings

from embedry import Options, resolve
from embedry.views import LazyEmbedder
from embedry_langchain.models import DEFAULT_MODEL


class EmbedryEmbeddings(Embeddings):
    """A shared embedder with LangChain's interface. The first text loads the model.

    Queries and documents each get the prompt that the model was trained with. Instances with the same model and options
    share one loaded model. Pickling stores the name and the options.

    Args:
        model: a name, an alias, a repository id or a folder, or an embedder that `resolve` returned.
        **options: options of `embedry.resolve`: backend, device, precision, dims, normalize and so on.

    Raises:
        UnknownModelError, OptionError, UnknownOptionError: as `resolve`.
    """

    def __init__(self, model: str | LazyEmbedder = DEFAULT_MODEL, **options: Unpack[Options]) -> None:
        self.embedder = model if isinstance(model, LazyEmbedder) else resolve(model, **options)

    def embed_query(self, text: str) -> list[float]:
        """The vector of one query."""
        return self.embedder.embed_query(text)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """The vectors of documents, in order. Texts are batched, and equal texts are computed once."""
        return self.embedder.embed_documents(texts)

    async def aembed_query(self, text: str) -> list[float]:
        """`embed_query` without blocking the event loop."""
        return await self.embedder.aembed_query(text)

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """`embed_documents` without blocking the event loop."""
        return await self.embedder.aembed_documents(texts)

    def __repr__(self) -> str:
        return f"EmbedryEmbeddings({self.embedder!r})"
