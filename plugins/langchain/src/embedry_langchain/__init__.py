"""embedry for LangChain: shared embeddings and rerankers, and a vector store that embeds texts.

from embedry_langchain import create_vector_store, get_embeddings

store = create_vector_store(get_embeddings(), path="store")
store.add_documents(chunks)
store.similarity_search("What is the refund policy?")
"""

from embedry_langchain.classic import EmbeddingsManager, get_embeddings
from embedry_langchain.embeddings import EmbedryEmbeddings
from embedry_langchain.models import DEFAULT_MODEL, EMBEDDING_MODELS, EmbeddingModel, list_available_models
from embedry_langchain.reranking import EmbedryCrossEncoder, EmbedryReranker
from embedry_langchain.stores import create_vector_store

__all__ = [
    "DEFAULT_MODEL",
    "EMBEDDING_MODELS",
    "EmbeddingModel",
    "EmbeddingsManager",
    "EmbedryCrossEncoder",
    "EmbedryEmbeddings",
    "EmbedryReranker",
    "create_vector_store",
    "get_embeddings",
    "list_available_models",
]
