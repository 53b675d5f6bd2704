"""The classic API: a manager of one model, and embeddings that the whole process shares."""

from pathlib import Path
from threading import Lock

from embedry import resolve
from embedry.views import LazyEmbedder
from embedry_langchain.embeddings import EmbedryEmbeddings
from embedry_langchain.models import DEFAULT_MODEL

_shared: dict[LazyEmbedder, EmbedryEmbeddings] = {}
_lock = Lock()


def get_embeddings(
    model_name: str = DEFAULT_MODEL,
    *,
    device: str = "cpu",
    normalize_embeddings: bool = True,
    cache_folder: str | Path | None = None,
) -> EmbedryEmbeddings:
    """The embeddings that the process shares for this model and these options: the same object for the same call.

    An alias and the full path of one model are the same model. Loads nothing.

    Args:
        model_name: an alias from `EMBEDDING_MODELS`, or a full Hugging Face path ("organisation/name").
        device: "cpu", "cuda", "cuda:1", "mps".
        normalize_embeddings: scale every vector to unit length.
        cache_folder: where model files are kept; by default embedry's cache folder.

    Raises:
        UnknownModelError, OptionError: as `embedry.resolve`.
    """
    embedder = resolve(model_name, device=device, normalize=normalize_embeddings, cache_dir=cache_folder)
    with _lock:
        return _shared.setdefault(embedder, EmbedryEmbeddings(embedder))


class EmbeddingsManager:
    """One model under the names of the classic API. The arguments are those of `get_embeddings`; nothing is loaded."""

    def __init__(
        self,
        model_name: str = DEFAULT_MODEL,
        device: str = "cpu",
        normalize_embeddings: bool = True,
        cache_folder: str | Path | None = None,
    ) -> None:
        self.model_name = model_name
        self._embeddings = get_embeddings(
            model_name, device=device, normalize_embeddings=normalize_embeddings, cache_folder=cache_folder
        )

    def get_embeddings(self) -> EmbedryEmbeddings:
        """The LangChain embeddings, ready: the first call loads the model, and every call returns the same object.

        Raises:
            WeightsNotFoundError, IntegrityError: the model cannot be loaded.
        """
        self._embeddings.embedder.load()
        return self._embeddings

    def embed_text(self, text: str) -> list[float]:
        """The vector of one query."""
        return self._embeddings.embed_query(text)

    def embed_texts(self, texts: list[str]) -> list[list[float]]:
        """The vectors of documents, in their order, computed in batches."""
        return self._embeddings.embed_documents(texts)
