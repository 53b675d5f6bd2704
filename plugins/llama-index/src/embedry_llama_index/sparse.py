"""Sparse vectors in the format of LlamaIndex's vector stores."""

from pathlib import Path
from typing import TypeAlias, Unpack, cast

from embedry import LazySparseEmbedder, ModelSpec, Options, SparseVectors
from embedry.resolver import given_or_resolved

SparseLists: TypeAlias = tuple[list[list[int]], list[list[float]]]
"""Of each text the ids of its terms, and of each the weights."""


class EmbedrySparse:
    """A sparse model with the two functions that stores such as QdrantVectorStore accept. The first text loads the model.

    Args:
        model: a name, an alias, a repository id, a folder or an entry, as `embedry.resolve_sparse` accepts it, or a
            resolved model.
        **options: options of `embedry.resolve_sparse`: backend, device, threads and so on.

    Raises:
        OptionError: an option is not supported by this model, or options are given for a resolved model.
        UnknownModelError, UnsupportedModelError, UnknownOptionError: as `resolve_sparse`.
    """

    def __init__(self, model: str | Path | ModelSpec | LazySparseEmbedder, **options: Unpack[Options]) -> None:
        self.embedder = cast("LazySparseEmbedder", given_or_resolved("sparse", model, **options))

    def sparse_doc_fn(self, texts: list[str]) -> SparseLists:
        """The terms of documents and their weights."""
        return _lists(self.embedder.encode_document(texts))

    def sparse_query_fn(self, texts: list[str]) -> SparseLists:
        """The terms of queries and their weights."""
        return _lists(self.embedder.encode_query(texts))


def _lists(vectors: SparseVectors) -> SparseLists:
    rows = list(vectors)
    return [indices.tolist() for indices, _ in rows], [values.tolist() for _, values in rows]
