"""A LangChain vector store over LanceDB: embeds, stores and searches documents."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from lancedb.table import Table
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores.utils import maximal_marginal_relevance
from numpy.typing import NDArray

from embedry import LazySparseEmbedder, OptionError, SparseVectors
from embedry_langchain import filters, rows, searches, vectors
from embedry_langchain.embeddings import EmbedryEmbeddings
from embedry_langchain.hybrid import HybridVectorStore, Search, refuse
from embedry_langchain.tables import StoreTable


class LanceVectorStore(HybridVectorStore):
    """See `create_vector_store`. Thread-safe; several processes can use the same folder.

    Scores are the model's similarity: the cosine, or the dot product if the model was trained for it; higher is closer.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        path: str | Path | None = None,
        *,
        table: str = "documents",
        sparse: LazySparseEmbedder | None = None,
    ) -> None:
        self._embeddings = embeddings
        self._sparse = sparse
        self._metric = _metric(embeddings)
        self._searches = ("dense", "text", "sparse") if sparse else ("dense", "text")
        embedder = embeddings.embedder if isinstance(embeddings, EmbedryEmbeddings) else None
        self._table = StoreTable(path, table, embedder, sparse)

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        path: str | Path | None = None,
        table: str = "documents",
        sparse: LazySparseEmbedder | None = None,
        **kwargs: Any,
    ) -> Self:
        """A store with these texts in it; see `create_vector_store` and `add_documents`."""
        store = cls(embedding, path, table=table, sparse=sparse)
        store.add_texts(texts, metadatas, ids=ids, **kwargs)
        return store

    @property
    def embeddings(self) -> Embeddings:
        """The embeddings of documents and queries."""
        return self._embeddings

    @property
    def table(self) -> Table | None:
        """The LanceDB table, for features that LangChain does not cover, such as indexes; None until documents are added.

        Columns: `id`, `text`, `vector` (float32, dims), `metadata` (JSON), and `sparse` in a store with sparse vectors.
        """
        return self._table.get()

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Embeds and stores texts; see `add_documents`.

        Raises:
            TextTypeError: `texts` is not a list of str.
            ValueError: the number of metadatas or ids differs from the number of texts.
        """
        return self.add_documents(rows.documents(texts, metadatas), ids=ids, **kwargs)

    def add_documents(
        self,
        documents: list[Document],
        *,
        ids: list[str] | None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Embeds and stores the documents. They are on disk when it returns.

        Embeddings of embedry are computed and stored in blocks. Embeddings of other libraries are all computed and
        checked first, and then stored in one step.

        Args:
            documents: documents with metadata that JSON preserves: str, 64-bit int, finite float, bool, None, and lists and
                dicts of them with str keys.
            ids: ids that replace those of the documents; None or "" creates a new one.
            batch_size: ignored; accepted because LangChain's `index` passes it.
            **kwargs: none.

        Returns:
            The ids. A document replaces a stored one with the same id; of several with the same id the last one is kept.

        Raises:
            TypeError: `ids` is not a list of str, `documents` is not a list of Document, or an option does not
                exist; nothing is embedded.
            ValueError: metadata, an id or a text cannot be stored unchanged, or the number of ids differs from the
                number of documents; nothing is embedded.
            BackendContractError: embeddings of another library returned the wrong number of vectors, or a vector that is
                not finite, zero, or of a different length; nothing is stored.
            SpaceError: the stored vectors were made by other embeddings.
        """
        refuse(kwargs)
        given = rows.rows(documents, ids)
        last = {row["id"]: place for place, row in enumerate(given)}
        unique = [given[place] for place in last.values()]
        start = 0
        for block in self._embedded([row["text"] for row in unique], list(last.values())):
            stored = unique[start : start + len(block)]
            self._table.write(stored, block, self._sparse_of([row["text"] for row in stored]))
            start += len(block)
        return [row["id"] for row in given]

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Removes the documents with these ids; missing ids are ignored.

        Raises:
            ValueError: no ids are given; to remove everything, delete the folder.
            TypeError: `ids` is not a list of str; nothing is removed.
        """
        refuse(kwargs)
        if ids is None:
            raise ValueError("ids must be a list, got None; to delete all, remove the store's folder")
        wanted = rows.checked_ids(ids)
        table = self.table
        if table is not None and wanted:
            table.delete(searches.has_id(wanted))
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The stored documents with these ids, in the order of the ids.

        Raises:
            TypeError: `ids` is not a list of str.
        """
        wanted = rows.checked_ids(ids)
        table = self.table
        if table is None:
            return []
        documents = {row["id"]: rows.document(row) for row in searches.by_ids(table, wanted)}
        return [documents[each] for each in wanted if each in documents]

    def similarity_search(
        self, query: str, k: int = 4, filter: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[Document]:
        """The k documents closest to a query; for `filter`, see `filters.sql`."""
        return [document for document, _ in self.similarity_search_with_score(query, k, filter, **kwargs)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The k documents closest to a query, with their scores, best first."""
        return self.similarity_search_with_score_by_vector(self._query(query), k, filter, **kwargs)

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[Document]:
        """The k documents closest to a vector of this store's space."""
        return [document for document, _ in self.similarity_search_with_score_by_vector(embedding, k, filter, **kwargs)]

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, filter: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The k documents closest to a vector of this store's space, with their scores, best first.

        Raises:
            FilterError: the filter is invalid.
            ValueError: the vector has values that are not finite, or is zero and the similarity is the cosine.
            SpaceError: the length of the vector differs from the stored ones.
        """
        refuse(kwargs)
        # On one scale all metrics of LanceDB that are used here are 1 less the score.
        return [(rows.document(row), 1 - row["_distance"]) for row in self._nearest(embedding, k, filter)]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Selects k diverse documents from the fetch_k closest ones; with lambda_mult 1 the k closest."""
        vector = self._query(query)
        return self.max_marginal_relevance_search_by_vector(vector, k, fetch_k, lambda_mult, **kwargs)

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """`max_marginal_relevance_search` for a vector of this store's space."""
        refuse(kwargs)
        near = self._nearest(embedding, fetch_k, filter)
        chosen = maximal_marginal_relevance(
            np.array(embedding, dtype=np.float32), [row["vector"] for row in near], lambda_mult, k
        )
        return [rows.document(near[place]) for place in chosen]

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        if self._metric == "dot":
            raise NotImplementedError("a dot product has no greatest value; use similarity_search_with_score")
        return lambda score: (score + 1) / 2  # of a cosine, as LangChain's own stores do

    def _query(self, text: str) -> list[float]:
        if isinstance(self._embeddings, EmbedryEmbeddings):
            return self._embeddings.embed_query(text)
        return vectors.of_query(self._embeddings, text, cosine=self._metric == "cosine")

    def _found(self, search: Search, query: str, k: int, filter: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        condition = None if filter is None else filters.sql(filter)
        table = self.table
        if table is None:
            return []
        if search == "dense":
            return self._nearest(self._query(query), k, filter)
        if search == "text":
            return searches.by_words(table, query, k, condition)
        terms = self._sparse_of([query], role="query")
        assert terms is not None  # noqa: S101  only a store with sparse vectors has this search
        return searches.by_terms(table, terms, k, condition)

    def _nearest(self, embedding: list[float], k: int, filter: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        condition = None if filter is None else filters.sql(filter)
        try:
            vector = vectors.checked(embedding, cosine=self._metric == "cosine")
        except ValueError as error:
            raise ValueError(f"invalid vector to search for: {error}") from None
        table = self.table
        if table is None or k < 1:
            return []
        self._table.check_length(vector.size, table)
        return searches.by_vector(table, vector, k, condition, self._metric)

    def _embedded(self, texts: list[str], positions: list[int]) -> Iterator[NDArray[np.float32]]:
        if isinstance(self._embeddings, EmbedryEmbeddings):
            yield from self._embeddings.embedder.encode_stream(texts, role="document")
        elif texts:
            yield vectors.of_documents(self._embeddings, texts, positions, cosine=self._metric == "cosine")

    def _sparse_of(self, texts: list[str], *, role: str = "document") -> SparseVectors | None:
        return self._sparse.encode(texts, role=role) if self._sparse is not None else None


def _metric(embeddings: Embeddings) -> str:
    if not isinstance(embeddings, EmbedryEmbeddings):
        return "cosine"
    embedder = embeddings.embedder
    similarity = embedder.spec.similarity
    if embedder.config.normalize or similarity == "cosine":
        return "cosine"  # for vectors of unit length all similarities rank alike
    if similarity == "dot":
        return "dot"
    raise OptionError(
        f"{embedder.name!r} compares vectors by {similarity!r}, which the store does not; "
        "use embeddings with normalize=True, where all similarities rank alike"
    )
