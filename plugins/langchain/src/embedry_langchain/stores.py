"""A vector store that embeds texts, in memory or in a folder."""

from pathlib import Path
from typing import TYPE_CHECKING

from langchain_core.embeddings import Embeddings

from embedry import LazySparseEmbedder, ModelSpec, resolve_sparse

if TYPE_CHECKING:
    from embedry_langchain.lance import LanceVectorStore


def create_vector_store(
    embeddings: Embeddings,
    path: str | Path | None = None,
    *,
    table: str = "documents",
    sparse: str | Path | ModelSpec | LazySparseEmbedder | None = None,
) -> "LanceVectorStore":
    """Creates a LangChain `VectorStore` over LanceDB, or opens the one in the folder.

    Args:
        embeddings: the embeddings for documents and queries.
        path: the local folder of the store, created if it does not exist; None for a store in memory.
        table: the name of the collection; a folder may hold several.
        sparse: a model for additional sparse vectors, for `hybrid_search`: a name or an entry, as `embedry.resolve_sparse`
            accepts it, or a resolved model.

    Raises:
        SpaceError: the folder's vectors were made by other models, or its table is damaged or not a store.
        UnknownModelError, UnsupportedModelError: `sparse` is not a sparse model.
        NotADirectoryError: the path is a file.
        ValueError: the path is a URL.
    """
    from embedry_langchain.lance import LanceVectorStore

    model = resolve_sparse(sparse) if isinstance(sparse, str | Path | ModelSpec) else sparse
    return LanceVectorStore(embeddings, path, table=table, sparse=model)
