"""A LangChain vector store over LanceDB: embedded, in a folder or in memory, and bound to the space of its vectors."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import lancedb
import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance
from numpy.typing import NDArray

from embedry import OptionError, Space, SpaceError
from embedry_langchain import filters, rows
from embedry_langchain.embeddings import EmbedryEmbeddings

_SPACE = b"embedry.space"
"""The key of the space in the table's own metadata."""

_BLOCK = 1024
"""Documents embedded and written at a time, for embeddings that are not embedry's."""

_MOST_PARTS = 64
"""Each write adds a part to the table. Above this number they are compacted, which takes as long as some ten writes."""

_KEPT = timedelta(hours=1)
"""Compacted parts are kept this long for readers that still use them."""


class LanceVectorStore(VectorStore):
    """See `create_vector_store`. Safe to use from many threads, and a folder from several processes.

    Scores are the model's similarity: the cosine, or the dot product where the model was trained for that; higher is nearer.
    """

    def __init__(self, embeddings: Embeddings, path: str | Path | None = None, *, table: str = "documents") -> None:
        self._embeddings = embeddings
        self._metric = _metric(embeddings)
        self._name = table
        self._where = "memory" if path is None else str(path)
        if path is not None and Path(path).is_file():
            raise NotADirectoryError(f"path must be a folder, got the file {path}")
        # Each read sees the writes of others.
        self._database = lancedb.connect(
            "memory://" if path is None else Path(path), read_consistency_interval=timedelta(0)
        )
        self._space = Space.of(embeddings.embedder).as_dict() if isinstance(embeddings, EmbedryEmbeddings) else None
        self._table = self._opened()

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
        **kwargs: Any,
    ) -> Self:
        """A store with these texts in it; see `create_vector_store` and `add_documents`."""
        store = cls(embedding, path, table=table)
        store.add_texts(texts, metadatas, ids=ids, **kwargs)
        return store

    @property
    def embeddings(self) -> Embeddings:
        """The embeddings of documents and queries."""
        return self._embeddings

    @property
    def table(self) -> lancedb.table.Table | None:
        """The LanceDB table, for what LangChain does not cover, such as an index; None until something is added.

        Columns: `id`, `text`, `vector` (float32, dims) and `metadata` (JSON).
        """
        return self._table

    def add_documents(self, documents: list[Document], *, ids: list[str] | None = None, **kwargs: Any) -> list[str]:
        """Embeds and stores the documents, block by block. When it returns they are on disk.

        Args:
            documents: with metadata that JSON can hold.
            ids: of the documents, in place of their own; one without any gets a new one.
            **kwargs: none.

        Returns:
            The ids. A document whose id is in the store already replaces what was there; of two with one id the last stays.

        Raises:
            ValueError: metadata that JSON cannot hold, or another number of ids than of documents; nothing is added.
            TypeError: an option that does not exist.
            SpaceError: other embeddings made the stored vectors.
        """
        _refuse(kwargs)
        given = rows.rows(documents, ids)
        unique = list({row["id"]: row for row in given}.values())
        start = 0
        for vectors in self._embedded([row["text"] for row in unique]):
            self._write(unique[start : start + len(vectors)], vectors)
            start += len(vectors)
        return [row["id"] for row in given]

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Removes the documents of these ids; one that is not there is no error.

        Raises:
            ValueError: no ids are given; to remove everything, delete the folder.
        """
        _refuse(kwargs)
        if ids is None:
            raise ValueError("ids must be a list, got None; to delete all, remove the store's folder")
        if self._table is not None and ids:
            self._table.delete(_has_id(ids))
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents of these ids that are there, in the order of the ids."""
        if self._table is None or not ids:
            return []
        found = self._table.search().where(_has_id(ids)).select(["id", "text", "metadata"]).limit(len(ids)).to_list()
        documents = {row["id"]: rows.document(row) for row in found}
        return [documents[wanted] for wanted in ids if wanted in documents]

    def similarity_search(
        self, query: str, k: int = 4, filter: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[Document]:
        """The k documents nearest to a query; `filter` is on metadata, see `filters.sql`."""
        return [document for document, _ in self.similarity_search_with_score(query, k, filter, **kwargs)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The k documents nearest to a query, with their scores, best first."""
        return self.similarity_search_with_score_by_vector(self._embeddings.embed_query(query), k, filter, **kwargs)

    def similarity_search_by_vector(
        self, embedding: list[float], k: int = 4, filter: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[Document]:
        """The k documents nearest to a vector of this store's space."""
        return [document for document, _ in self.similarity_search_with_score_by_vector(embedding, k, filter, **kwargs)]

    def similarity_search_with_score_by_vector(
        self, embedding: list[float], k: int = 4, filter: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The k documents nearest to a vector of this store's space, with their scores, best first.

        Raises:
            FilterError: the filter is invalid.
            SpaceError: the vector has another length than the stored ones.
        """
        _refuse(kwargs)
        # On one scale all metrics of LanceDB that are used here are 1 less the score.
        return [(rows.document(row), 1 - row["_distance"]) for row in self._nearest(embedding, k, filter)]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Of the fetch_k nearest documents k that resemble each other little; with lambda_mult 1 simply the nearest."""
        vector = self._embeddings.embed_query(query)
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
        _refuse(kwargs)
        near = self._nearest(embedding, fetch_k, filter)
        chosen = maximal_marginal_relevance(
            np.array(embedding, dtype=np.float32), [row["vector"] for row in near], lambda_mult, k
        )
        return [rows.document(near[place]) for place in chosen]

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        if self._metric == "dot":
            raise NotImplementedError("a dot product has no greatest value; use similarity_search_with_score")
        return lambda score: (score + 1) / 2  # of a cosine, as LangChain's own stores do

    def _nearest(self, embedding: list[float], k: int, filter: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        condition = None if filter is None else filters.sql(filter)
        if self._table is None or k < 1:
            return []
        self._check_length(len(embedding), self._table)
        query: Any = self._table.search(np.array(embedding, dtype=np.float32))  # its declared type is too narrow
        search = query.distance_type(self._metric).limit(k)
        found: list[dict[str, Any]] = (search.where(condition) if condition else search).to_list()
        return found

    def _embedded(self, texts: list[str]) -> Iterator[NDArray[np.float32]]:
        if isinstance(self._embeddings, EmbedryEmbeddings):
            yield from self._embeddings.embedder.encode_stream(texts, role="document")
        else:
            for start in range(0, len(texts), _BLOCK):
                block = self._embeddings.embed_documents(texts[start : start + _BLOCK])
                yield np.array(block, dtype=np.float32)

    def _write(self, stored: list[dict[str, str]], vectors: NDArray[np.float32]) -> None:
        table = self._table
        if table is None:
            table = self._table = self._created(vectors.shape[1])
        self._check_length(vectors.shape[1], table)
        table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(
            rows.columns(stored, vectors)
        )
        stats: Any = table.stats()  # a dict, whatever its type says
        if stats["fragment_stats"]["num_fragments"] > _MOST_PARTS:
            table.optimize(cleanup_older_than=_KEPT)

    def _created(self, dims: int) -> lancedb.table.Table:
        schema = rows.schema(dims).with_metadata({_SPACE: json.dumps(self._space).encode()})
        try:
            return self._database.create_table(self._name, schema=schema)
        except (ValueError, RuntimeError) as error:  # which one depends on how far another writer was
            table = self._opened()
            if table is None:
                raise error from None
            return table

    def _opened(self) -> lancedb.table.Table | None:
        try:
            table = self._database.open_table(self._name)
        except ValueError as error:
            if "not found" not in str(error):
                raise
            return None
        self._check(table)
        return table

    def _check(self, table: lancedb.table.Table) -> None:
        """Refuses embeddings other than those that made the table's vectors."""
        kept = (table.schema.metadata or {}).get(_SPACE)
        if kept is None:
            raise SpaceError(
                f"the table {self._name!r} in {self._where} is not a store of embedry; choose another with table="
            )
        saved = json.loads(kept)
        if saved is not None and isinstance(self._embeddings, EmbedryEmbeddings):
            Space.from_dict(saved).check(self._embeddings.embedder)
        elif saved != self._space:
            made, given = (
                f"embedry's {space['model']!r}" if space else "embeddings of other libraries"
                for space in (saved, self._space)
            )
            raise SpaceError(
                f"the store in {self._where} was made by {made}, and cannot be compared with the vectors of {given}; "
                "open it with the embeddings that made it, or make a new store"
            )

    def _check_length(self, dims: int, table: lancedb.table.Table) -> None:
        stored = table.schema.field("vector").type.list_size
        if dims != stored:
            raise SpaceError(f"a vector must have {stored} dims for the store in {self._where}, got {dims}")


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


def _has_id(ids: Sequence[str]) -> str:
    return "id in (" + ", ".join("'" + wanted.replace("'", "''") + "'" for wanted in ids) + ")"


def _refuse(options: Mapping[str, Any]) -> None:
    if options:
        raise TypeError(f"the store has no option {next(iter(options))!r}")
