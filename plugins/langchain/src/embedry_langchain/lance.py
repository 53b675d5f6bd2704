"""A LangChain vector store over LanceDB: embedded, in a folder or in memory, and bound to the space of its vectors."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any, Self

import lancedb
import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from langchain_core.vectorstores.utils import maximal_marginal_relevance
from numpy.typing import NDArray

from embedry import OptionError, Space, SpaceError
from embedry_langchain import filters, rows, vectors
from embedry_langchain.embeddings import EmbedryEmbeddings

_SPACE = b"embedry.space"
"""The key of the space in the table's own metadata."""

_MOST_PARTS = 64
"""Each write adds a part to the table. Above this number they are compacted, which takes as long as some ten writes."""

_KEPT = timedelta(hours=1)
"""Compacted parts are kept this long for readers that still use them."""

_CONFLICT = re.compile("commit conflict|incompatible transaction|too many concurrent writers", re.IGNORECASE)
"""How LanceDB says that another writer committed first; it has no type for it."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""A path that begins like this is a URL; one letter would be a drive of Windows."""

_creating = Lock()
"""Held while a table in memory is made, by one of several threads."""


class LanceVectorStore(VectorStore):
    """See `create_vector_store`. Safe to use from many threads, and a folder from several processes.

    Scores are the model's similarity: the cosine, or the dot product where the model was trained for that; higher is nearer.
    """

    def __init__(self, embeddings: Embeddings, path: str | Path | None = None, *, table: str = "documents") -> None:
        self._embeddings = embeddings
        self._metric = _metric(embeddings)
        self._name = table
        self._where = "memory" if path is None else str(path)
        self._folder = None if path is None else _folder(path)
        # Each read sees the writes of others.
        self._database = lancedb.connect(self._folder or "memory://", read_consistency_interval=timedelta(0))
        self._space = Space.of(embeddings.embedder) if isinstance(embeddings, EmbedryEmbeddings) else None
        self._known = self._opened()

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
        if self._known is None:  # another process may have made it since
            self._known = self._opened()
        return self._known

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
            ValueError: another number of metadatas or ids than of texts.
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
        """Embeds and stores the documents. When it returns they are on disk.

        embedry's embeddings are computed and stored block by block. Those of other libraries are all computed and
        checked first, and then stored in one step.

        Args:
            documents: with metadata that comes back from JSON as it is: str, int of 64 bits, finite float, bool, None,
                and lists and dicts of them with keys that are str.
            ids: of the documents, in place of their own; None or "" stands for a new one.
            batch_size: accepted because LangChain's `index` passes it, and not used.
            **kwargs: none.

        Returns:
            The ids. A document whose id is in the store already replaces what was there; of two with one id the last stays.

        Raises:
            TypeError: ids that are not a list of str, documents that are not a list of Document, or an option that does
                not exist; nothing is embedded.
            ValueError: metadata, an id or a text that would not come back as it is, or another number of ids than of
                documents; nothing is embedded.
            BackendContractError: embeddings of another library returned the wrong number of vectors, or a vector that is
                not finite, zero, or of another length than the rest; nothing is stored.
            SpaceError: other embeddings made the stored vectors.
        """
        _refuse(kwargs)
        given = rows.rows(documents, ids)
        last = {row["id"]: place for place, row in enumerate(given)}
        unique = [given[place] for place in last.values()]
        start = 0
        for block in self._embedded([row["text"] for row in unique], list(last.values())):
            self._write(unique[start : start + len(block)], block)
            start += len(block)
        return [row["id"] for row in given]

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Removes the documents of these ids; one that is not there is no error.

        Raises:
            ValueError: no ids are given; to remove everything, delete the folder.
            TypeError: ids that are not a list of str; nothing is removed.
        """
        _refuse(kwargs)
        if ids is None:
            raise ValueError("ids must be a list, got None; to delete all, remove the store's folder")
        wanted = rows.checked_ids(ids)
        table = self.table
        if table is not None and wanted:
            table.delete(_has_id(wanted))
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The documents of these ids that are there, in the order of the ids.

        Raises:
            TypeError: ids that are not a list of str.
        """
        wanted = rows.checked_ids(ids)
        table = self.table
        if table is None or not wanted:
            return []
        found = table.search().where(_has_id(wanted)).select(["id", "text", "metadata"]).limit(len(wanted)).to_list()
        documents = {row["id"]: rows.document(row) for row in found}
        return [documents[each] for each in wanted if each in documents]

    def similarity_search(
        self, query: str, k: int = 4, filter: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[Document]:
        """The k documents nearest to a query; `filter` is on metadata, see `filters.sql`."""
        return [document for document, _ in self.similarity_search_with_score(query, k, filter, **kwargs)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The k documents nearest to a query, with their scores, best first."""
        return self.similarity_search_with_score_by_vector(self._query(query), k, filter, **kwargs)

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
            ValueError: the vector has values that are not finite, or is zero where cosines are compared.
            SpaceError: the vector has another length than the stored ones.
        """
        _refuse(kwargs)
        # On one scale all metrics of LanceDB that are used here are 1 less the score.
        return [(rows.document(row), 1 - row["_distance"]) for row in self._nearest(embedding, k, filter)]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Of the fetch_k nearest documents k that resemble each other little; with lambda_mult 1 simply the nearest."""
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

    def _query(self, text: str) -> list[float]:
        if isinstance(self._embeddings, EmbedryEmbeddings):
            return self._embeddings.embed_query(text)
        return vectors.of_query(self._embeddings, text, cosine=self._metric == "cosine")

    def _nearest(self, embedding: list[float], k: int, filter: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        condition = None if filter is None else filters.sql(filter)
        try:
            vector = vectors.checked(embedding, cosine=self._metric == "cosine")
        except ValueError as error:
            raise ValueError(f"invalid vector to search for: {error}") from None
        table = self.table
        if table is None or k < 1:
            return []
        self._check_length(vector.size, table)
        query: Any = table.search(vector)  # its declared type is too narrow
        search = query.distance_type(self._metric).limit(k)
        found: list[dict[str, Any]] = (search.where(condition) if condition else search).to_list()
        return found

    def _embedded(self, texts: list[str], positions: list[int]) -> Iterator[NDArray[np.float32]]:
        if isinstance(self._embeddings, EmbedryEmbeddings):
            yield from self._embeddings.embedder.encode_stream(texts, role="document")
        elif texts:
            yield vectors.of_documents(self._embeddings, texts, positions, cosine=self._metric == "cosine")

    def _write(self, stored: list[dict[str, str]], block: NDArray[np.float32]) -> None:
        table = self.table
        if table is None:
            table = self._known = self._created(block.shape[1])
        self._check_length(block.shape[1], table)
        # LanceDB itself repeats a merge that conflicts with another writer's.
        table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(
            rows.columns(stored, block)
        )
        stats: Any = table.stats()  # a dict, whatever its type says
        if stats["fragment_stats"]["num_fragments"] > _MOST_PARTS:
            _compact(table)

    def _created(self, dims: int) -> lancedb.table.Table:
        """The table, made by this writer or by another one that was first."""
        space = self._space and self._space.as_dict()
        schema = rows.schema(dims).with_metadata({_SPACE: json.dumps(space).encode()})
        if self._folder is None:
            with _creating:
                table = self._opened()
                return self._database.create_table(self._name, schema=schema) if table is None else table
        # LanceDB's create_table may replace a table, with its rows, that another process made at the same moment.
        # Renaming a folder replaces nothing.
        with TemporaryDirectory(dir=self._folder, prefix=".new-") as apart:
            lancedb.connect(apart).create_table(self._name, schema=schema)
            (made,) = Path(apart).iterdir()
            try:
                made.rename(self._folder / made.name)
            except OSError as error:
                table = self._opened()
                if table is None:
                    raise SpaceError(
                        f"the store cannot be created: {error}; move away what is there, or choose another table="
                    ) from error
                return table
        return self._database.open_table(self._name)

    def _opened(self) -> lancedb.table.Table | None:
        try:
            table = self._database.open_table(self._name)
        except ValueError as error:
            if "not found" not in str(error):
                raise
            return None
        except RuntimeError as error:
            raise SpaceError(
                f"the table {self._name!r} in {self._where} cannot be opened: {error}; "
                "restore it from a backup, or choose another with table="
            ) from error
        self._check(table)
        return table

    def _check(self, table: lancedb.table.Table) -> None:
        """Refuses a table that is not a store, and embeddings other than those that made its vectors."""
        kept = (table.schema.metadata or {}).get(_SPACE)
        if kept is None or not rows.fits(table.schema):
            raise SpaceError(
                f"the table {self._name!r} in {self._where} is not a store of embedry; choose another with table="
            )
        saved = self._saved(kept)
        if saved is not None and isinstance(self._embeddings, EmbedryEmbeddings):
            saved.check(self._embeddings.embedder)
        elif saved != self._space:
            made, given = (
                f"embedry's {space.model!r}" if space else "embeddings of other libraries"
                for space in (saved, self._space)
            )
            raise SpaceError(
                f"the store in {self._where} was made by {made}, and cannot be compared with the vectors of {given}; "
                "open it with the embeddings that made it, or make a new store"
            )

    def _saved(self, kept: bytes) -> Space | None:
        try:
            saved = json.loads(kept)
            return None if saved is None else Space.from_dict(saved)
        except (ValueError, TypeError, RecursionError):
            raise SpaceError(
                f"the table {self._name!r} in {self._where} does not say which embeddings made its vectors: its metadata "
                f"{_SPACE.decode()!r} is {kept[:200]!r}; restore it from a backup, or choose another table with table="
            ) from None

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


def _folder(path: str | Path) -> Path:
    if _URL.match(str(path)):
        raise ValueError(
            f"path must be a local folder, got the URL {str(path)!r}; give a folder, with table= to choose a table in it, "
            "or use LanceDB itself for remote tables: lancedb.connect(url)"
        )
    if Path(path).is_file():
        raise NotADirectoryError(f"path must be a folder, got the file {path}")
    return Path(path)


def _compact(table: lancedb.table.Table) -> None:
    """Merges small parts. If another writer commits at the same moment, that is left to a later write."""
    try:
        table.optimize(cleanup_older_than=_KEPT)
    except RuntimeError as error:
        if not _CONFLICT.search(str(error)):
            raise


def _has_id(ids: Sequence[str]) -> str:
    return "id in (" + ", ".join("'" + wanted.replace("'", "''") + "'" for wanted in ids) + ")"


def _refuse(options: Mapping[str, Any]) -> None:
    if options:
        raise TypeError(f"the store has no option {next(iter(options))!r}")
