"""embedry's models as embedding functions of LanceDB tables. Importing this module registers them under "embedry".

    import embedry_lancedb
    from lancedb.embeddings import get_registry

    model = get_registry().get("embedry").create(name="bge-small-en-v1.5")

`EmbedryReranker` reranks the results of a search.

A table stores the model's name and its space. When it is opened later, in an application that imports this module, it loads
the model and refuses one that makes other vectors.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lancedb.embeddings import TextEmbeddingFunction, register  # noqa: TID253  the base of our class

from embedry import Space, resolve
from embedry_lancedb.reranking import EmbedryReranker

if TYPE_CHECKING:
    import numpy as np
    from lancedb.embeddings.utils import TEXT
    from numpy.typing import NDArray

    from embedry.views import LazyEmbedder

__all__ = ["EmbedryFunction", "EmbedryReranker"]


@register("embedry")  # type: ignore[no-untyped-call]
class EmbedryFunction(TextEmbeddingFunction, extra="forbid"):  # a mistyped option is an error
    """A model by name, with the options of `embedry.resolve`. The first text loads the model.

    `backend`, `device` and `threads` are machine options and are not stored with a table.
    """

    name: str
    """A name, alias, repository id or folder, as `resolve` takes it."""
    dims: int | None = None
    max_seq_length: int | None = None
    normalize: bool | None = None
    precision: str | None = None
    fingerprint: str | None = None
    """The space that the model must write into; stored with a table, and None until then."""
    backend: str | None = None
    device: str | None = None
    threads: int | None = None

    _embedder: "LazyEmbedder"

    def __init__(self, **options: Any) -> None:
        """Validates the options and does not load the model.

        Raises:
            pydantic.ValidationError: an option does not exist, or its value has the wrong type.
            SpaceError: the table's vectors have another space than the model.
            UnknownModelError, OptionError and so on, as `resolve`.
        """
        super().__init__(**options)
        self._embedder = resolve(self.name, **self.model_dump(exclude={"name", "fingerprint", "max_retries"}))
        if self.fingerprint is not None:
            replace(Space.of(self._embedder), fingerprint=self.fingerprint).check(self._embedder)

    @property
    def embedder(self) -> "LazyEmbedder":
        """The shared embedder of this model and these options."""
        return self._embedder

    def ndims(self) -> int:
        """The number of dimensions of a vector."""
        return self._embedder.dims

    def generate_embeddings(self, texts: "TEXT", *args: Any, **kwargs: Any) -> "list[NDArray[np.float32] | None]":
        """The vectors of documents, each float32 (ndims,)."""
        return list(self._embedder.encode_document(self.sanitize_input(texts)))

    def compute_query_embeddings(self, query: "TEXT", *args: Any, **kwargs: Any) -> "list[NDArray[np.float32] | None]":
        """The vector of a query, float32 (ndims,), in a list; LanceDB takes the first."""
        return list(self._embedder.encode_query(self.sanitize_input(query)))

    # LanceDB calls a model through these and retries failures for minutes. Retrying a local model does not help.

    def compute_query_embeddings_with_retry(self, *args: Any, **kwargs: Any) -> "list[NDArray[np.float32] | None]":
        """`compute_query_embeddings` without retries."""
        return self.compute_query_embeddings(*args, **kwargs)

    def compute_source_embeddings_with_retry(self, *args: Any, **kwargs: Any) -> "list[NDArray[np.float32] | None]":
        """`compute_source_embeddings` without retries."""
        return self.compute_source_embeddings(*args, **kwargs)

    def safe_model_dump(self) -> dict[str, Any]:
        """The values that a table stores and passes to `create` when it is opened: the model and its space."""
        space = Space.of(self._embedder).as_dict()
        return {"name": space.pop("model"), **space}
