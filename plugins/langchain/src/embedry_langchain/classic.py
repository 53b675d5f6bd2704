"""The classic API: a manager of one model, and process-wide shared embeddings."""

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
    """Returns the process-wide embeddings for this model and these options: equal calls return the same object.

    An alias and the full path of a model are the same model. Does not load the model.

    Args:
        model_name: an alias from `EMBEDDING_MODELS`, or a full Hugging Face path ("organization/name").
        device: "cpu", "cuda", "cuda:1", "mps".
        normalize_embeddings: scale every vector to unit length.
        cache_folder: the folder for model files; by default embedry's cache folder.

    Raises:
        UnknownModelError, OptionError: as `embedry.resolve`.
    """
    embedder = resolve(model_name, device=device, normalize=normalize_embeddings, cache_dir=cache_folder)
    with _lock:
        return _shared.setdefault(embedder, EmbedryEmbeddings(embedder))


class EmbeddingsManager:
    """One model in the classic API. Takes the arguments of `get_embeddings`; does not load the model."""

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
        """The LangChain embeddings. The first call loads the model; all calls return the same object.

        Raises:
            WeightsNotFoundError, IntegrityError: the model cannot be loaded.
        """
        self._embeddings.embedder.load()
        return self._embeddings

    def embed_text(self, text: str) -> list[float]:
        """The vector of one query."""
        return self._embeddings.embed_query(text)

    def embed_texts(self, texts: list[str]) -> list[list[float]]:
        """The vectors of documents, in order, computed in batches."""
        return self._embeddings.embed_documents(texts)
