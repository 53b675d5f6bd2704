"""embedry for Qdrant: collections, points and queries with dense, sparse and multi-vector models.

    from embedry_qdrant import collection_config, document_vectors, query_vectors

    models = {"dense": resolve("bge-small-en-v1.5"), "sparse": resolve_sparse("granite-embedding-30m-sparse")}
    client.create_collection("notes", **collection_config(models))
    client.upsert("notes", [PointStruct(id=0, vector=vectors) for vectors in document_vectors(models, ["a text"])])
    client.query_points("notes", query=query_vectors(models, "a question")["dense"], using="dense")

The collection stores the space of each model's vectors; `stored_models` reopens the models and checks their spaces.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

from qdrant_client import models as qdrant

from embedry import (
    LazyEmbedder,
    LazyMultiVectorEmbedder,
    LazySparseEmbedder,
    Options,
    Space,
    SpaceError,
    SparseVectors,
    TokenVectors,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qdrant_client import QdrantClient

__all__ = ["collection_config", "document_vectors", "query_vectors", "stored_models"]

Model: TypeAlias = LazyEmbedder | LazySparseEmbedder | LazyMultiVectorEmbedder
"""What `resolve`, `resolve_sparse` or `resolve_multi_vector` returned."""

Models: TypeAlias = Mapping[str, Model]
"""The name of a vector in the collection -> the model that makes it."""

Vector: TypeAlias = list[float] | list[list[float]] | qdrant.SparseVector
"""Of a dense model, a multi-vector model, a sparse model."""

_KEY = "embedry"
"""Of the spaces in the metadata of a collection."""

_DISTANCES = {
    "cosine": qdrant.Distance.COSINE,
    "dot": qdrant.Distance.DOT,
    "euclidean": qdrant.Distance.EUCLID,
    "manhattan": qdrant.Distance.MANHATTAN,
}


def collection_config(models: Models) -> dict[str, Any]:
    """The arguments for `QdrantClient.create_collection`: a vector for each model, and the spaces as metadata.

    Dense vectors use the model's similarity, multi-vectors MaxSim, and sparse vectors the dot product.

    Args:
        models: name of a vector -> its model.
    """
    return {
        "vectors_config": {
            name: _params(model) for name, model in models.items() if not isinstance(model, LazySparseEmbedder)
        },
        "sparse_vectors_config": {
            name: qdrant.SparseVectorParams() for name, model in models.items() if isinstance(model, LazySparseEmbedder)
        },
        "metadata": {_KEY: {name: Space.of(model).as_dict() for name, model in models.items()}},
    }


def document_vectors(models: Models, texts: Iterable[str]) -> list[dict[str, Vector]]:
    """The vectors of documents for `PointStruct` and the like, by name, in the order of the texts.

    A text without terms has no sparse vector, and a text without counted tokens has no multi-vector: Qdrant does not store empty ones.

    Args:
        models: name of a vector -> its model.
        texts: the documents.

    Raises:
        As `Embedder.encode`.
    """
    found = list(texts)
    points: list[dict[str, Vector]] = [{} for _ in found]
    for name, model in models.items():
        for point, vector in zip(points, _vectors(model.encode(found, role="document")), strict=True):
            if not _is_empty(vector):
                point[name] = vector
    return points


def query_vectors(models: Models, text: str) -> dict[str, Vector]:
    """The vectors of a query for `query_points` and `Prefetch`, by name.

    Args:
        models: name of a vector -> its model.
        text: the query.

    Raises:
        As `Embedder.encode`.
    """
    return {name: _vectors(model.encode([text], role="query"))[0] for name, model in models.items()}


def stored_models(client: "QdrantClient", collection: str, **options: Unpack[Options]) -> dict[str, Model]:
    """The models of a collection's vectors, by name, from the stored spaces. Does not load the models.

    Args:
        client: the client of the database.
        collection: the name of the collection.
        **options: machine options of `resolve`: backend, device, threads and so on.

    Raises:
        SpaceError: a model makes other vectors now, or the collection has no stored spaces.
        UnknownModelError: a model is unknown.
    """
    metadata = client.get_collection(collection).config.metadata or {}
    if not isinstance(metadata.get(_KEY), dict):
        raise SpaceError(
            f"the collection {collection!r} does not say which models made its vectors; "
            "create it with client.create_collection(name, **collection_config(models))"
        )
    models: dict[str, Any] = {
        name: Space.from_dict(saved).resolve_model(**options) for name, saved in metadata[_KEY].items()
    }
    return models


def _params(model: LazyEmbedder | LazyMultiVectorEmbedder) -> qdrant.VectorParams:
    if isinstance(model, LazyEmbedder):
        return qdrant.VectorParams(size=model.dims, distance=_DISTANCES[model.spec.similarity])
    maxsim = qdrant.MultiVectorConfig(comparator=qdrant.MultiVectorComparator.MAX_SIM)
    return qdrant.VectorParams(size=model.dims, distance=qdrant.Distance.DOT, multivector_config=maxsim)


def _vectors(results: "NDArray[np.float32] | SparseVectors | TokenVectors") -> list[Vector]:
    if isinstance(results, SparseVectors):
        return [qdrant.SparseVector(indices=indices.tolist(), values=values.tolist()) for indices, values in results]
    return [vector.tolist() for vector in results]


def _is_empty(vector: Vector) -> bool:
    return not (vector.indices if isinstance(vector, qdrant.SparseVector) else vector)
