"""embedry for Chroma: `EmbedryEmbeddingFunction`, which a collection saves and restores.

    from embedry_chroma import EmbedryEmbeddingFunction

    client.create_collection("notes", embedding_function=EmbedryEmbeddingFunction("bge-small-en-v1.5"))

In another process, `import embedry_chroma` is enough to open the collection with its model.
"""

from collections.abc import Mapping
from functools import wraps
from typing import Any, Unpack

from chromadb.api.models.CollectionCommon import CollectionCommon
from chromadb.api.types import Documents, EmbeddingFunction, Embeddings
from chromadb.api.types import Space as Distance
from chromadb.utils.embedding_functions import register_embedding_function

from embedry import Options, Space, UnsupportedModelError, resolve
from embedry.views import LazyEmbedder

__all__ = ["EmbedryEmbeddingFunction"]

_DISTANCES: Mapping[str, Distance] = {"cosine": "cosine", "dot": "ip", "euclidean": "l2"}
"""A model's similarity -> Chroma's name of the distance."""


@register_embedding_function
class EmbedryEmbeddingFunction(EmbeddingFunction[Documents]):
    """An embedry model for a Chroma collection. The first text loads the model.

    A collection stores the space of its vectors, but no machine options such as device and threads. To set these when
    you open it, pass an embedding function with these options.
    """

    def __init__(self, model: str, **options: Unpack[Options]) -> None:
        """Finds the model in the registry and checks the options.

        Args:
            model: a name that `embedry.resolve` accepts.
            **options: options of `embedry.resolve`.

        Raises:
            UnsupportedModelError: Chroma does not support the model's similarity.
            UnknownModelError, OptionError, UnknownOptionError: the model or an option is unknown or not supported.
        """
        self._use(resolve(model, **options))

    def _use(self, embedder: LazyEmbedder) -> None:
        similarity = embedder.spec.similarity
        if similarity not in _DISTANCES:
            raise UnsupportedModelError(
                f"the vectors of {embedder.name!r} are compared by {similarity} distance, and Chroma has only "
                f"{', '.join(_DISTANCES.values())}; choose another model or another store"
            )
        self._embedder = embedder
        # Checked now, because Chroma ignores errors of get_config when it creates a collection, and drops the configuration.
        self._space = Space.of(embedder)

    def __call__(self, input: Documents) -> Embeddings:  # noqa: A002  the protocol's name
        """Vectors of documents, a float32 array (dims,) for each."""
        return list(self._embedder.encode_document(input))

    def embed_query(self, input: Documents) -> Embeddings:  # noqa: A002
        """Vectors of queries, a float32 array (dims,) for each."""
        return list(self._embedder.encode_query(input))

    @staticmethod
    def name() -> str:
        """The name that Chroma saves."""
        return "embedry"

    def default_space(self) -> Distance:
        """Chroma's name of the distance for the model's vectors."""
        return _DISTANCES[self._embedder.spec.similarity]

    def supported_spaces(self) -> list[Distance]:
        """All distances for unit vectors, because their rankings are equal; otherwise only the model's distance."""
        return list(_DISTANCES.values()) if self._space.normalize else [self.default_space()]

    def get_config(self) -> dict[str, Any]:
        """The space of the vectors, as plain values."""
        return {"space": self._space.as_dict()}

    @staticmethod
    def build_from_config(config: dict[str, Any]) -> "EmbedryEmbeddingFunction":
        """The embedding function of a saved collection.

        Raises:
            SpaceError: the model makes other vectors now, or the configuration is invalid.
        """
        function = EmbedryEmbeddingFunction.__new__(EmbedryEmbeddingFunction)
        function._use(_saved(config).resolve())
        return function

    @staticmethod
    def validate_config(config: dict[str, Any]) -> None:
        """Raises SpaceError unless the configuration is one of `get_config`."""
        _saved(config)

    def validate_config_update(self, old_config: dict[str, Any], new_config: dict[str, Any]) -> None:
        """Raises SpaceError if the vectors of the two cannot be compared; `new_config` is this function's own."""
        _saved(old_config).check(self._embedder)

    def is_legacy(self) -> bool:
        """Returns False. Otherwise the base class would build a second instance, which may lack the machine options of this one."""
        return False


def _saved(config: Mapping[str, Any]) -> Space:
    return Space.from_dict(config.get("space", {}))


_open = CollectionCommon.__init__


@wraps(_open)
def _open_checked(self: CollectionCommon[Any], *args: Any, **kwargs: Any) -> None:
    """Opens a collection like Chroma, and rejects an embedding function with another space.

    Chroma compares only the names of the saved and the given function, and has no hook for more.
    """
    _open(self, *args, **kwargs)
    function, saved = self._embedding_function, self.configuration_json.get("embedding_function") or {}
    if isinstance(function, EmbedryEmbeddingFunction) and saved.get("name") == function.name():
        function.validate_config_update(saved["config"], function.get_config())


CollectionCommon.__init__ = _open_checked  # type: ignore[method-assign]
