"""The vector store that embeds by itself: in memory, or in a folder."""

from pathlib import Path
from typing import TYPE_CHECKING

from langchain_core.embeddings import Embeddings

if TYPE_CHECKING:
    from embedry_langchain.lance import LanceVectorStore


def create_vector_store(
    embeddings: Embeddings, path: str | Path | None = None, *, table: str = "documents"
) -> "LanceVectorStore":
    """A LangChain `VectorStore` over LanceDB, empty or with what its folder holds.

    Args:
        embeddings: what embeds documents and questions.
        path: the folder to keep the store in, made if need be; without one it lives in memory and dies with the process.
        table: the name of the collection; a folder may hold several.

    Raises:
        SpaceError: the folder's vectors were made by other embeddings.
        NotADirectoryError: the path is a file.
    """
    from embedry_langchain.lance import LanceVectorStore

    return LanceVectorStore(embeddings, path, table=table)
