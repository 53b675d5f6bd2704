"""Hybrid search: fuses the results of several searches into one list, and reranks them."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.runnables import run_in_executor
from langchain_core.vectorstores import VectorStore, VectorStoreRetriever

from embedry import OptionError
from embedry.resolver import ranking
from embedry_langchain import reranking, rows

Search = Literal["dense", "text", "sparse"]
"""By the vector of the whole text, by the words of the text, or by a sparse vector."""

_RRF_K = 60
"""The constant of reciprocal rank fusion in Cormack, Clarke and Büttcher 2009 (doi:10.1145/1571941.1572114)."""


class HybridRetriever(VectorStoreRetriever):
    """A retriever of a store that adds the search type "hybrid" to those of LangChain."""

    allowed_search_types: ClassVar[Sequence[str]] = (*VectorStoreRetriever.allowed_search_types, "hybrid")

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        if self.search_type == "hybrid":
            return self.vectorstore.search(query, "hybrid", **self.search_kwargs | kwargs)
        return super()._get_relevant_documents(query, run_manager=run_manager, **kwargs)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        if self.search_type == "hybrid":
            return await self.vectorstore.asearch(query, "hybrid", **self.search_kwargs | kwargs)
        return await super()._aget_relevant_documents(query, run_manager=run_manager, **kwargs)


class HybridVectorStore(VectorStore):
    """A vector store that can fuse several searches."""

    _searches: Sequence[Search]
    """Those that it has."""

    @abstractmethod
    def _found(self, search: Search, query: str, k: int, filter: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """The k best rows of one search, best first."""

    def hybrid_search(
        self, query: str, k: int = 4, filter: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[Document]:
        """The k best documents of several fused searches; see `hybrid_search_with_score`."""
        return [document for document, _ in self.hybrid_search_with_score(query, k, filter, **kwargs)]

    async def ahybrid_search(
        self, query: str, k: int = 4, filter: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> list[Document]:
        """`hybrid_search` without blocking the event loop."""
        return await run_in_executor(None, self.hybrid_search, query, k, filter, **kwargs)

    def hybrid_search_with_score(
        self,
        query: str,
        k: int = 4,
        filter: Mapping[str, Any] | None = None,
        *,
        fetch_k: int = 40,
        searches: Sequence[Search] | None = None,
        reranker: reranking.RerankerModel | None = None,
        **kwargs: Any,
    ) -> list[tuple[Document, float]]:
        """The k best documents of several fused searches, with their scores, best first.

        The searches are fused by reciprocal rank (Cormack, Clarke and Büttcher 2009): a document's score is the sum of
        1 / (60 + its rank) in each search that found it, or its score from the reranker.

        Args:
            query: the question.
            k: the number of documents.
            filter: a metadata filter for all searches, see `filters.sql`.
            fetch_k: the number of documents that each search returns and the reranker scores; at least k.
            searches: the searches to fuse: "dense" by the embeddings, "text" by the words of the query (BM25), "sparse" by sparse
                vectors. By default dense and sparse, or dense and text in a store without sparse vectors.
            reranker: reranks the results; see `reranking.RerankerModel`.
            **kwargs: none.

        Raises:
            OptionError: `searches` has an unknown value, or the reranker returns several scores per pair.
            FilterError: the filter is invalid.
            SpaceError: the stored vectors were made by other embeddings.
            UnknownModelError, UnsupportedModelError: as `resolve_reranker`.
        """
        refuse(kwargs)
        chosen = self._chosen(searches)
        model = None if reranker is None else ranking(reranker)
        most = max(k, fetch_k)
        found = [self._found(each, query, most, filter) for each in chosen] if k > 0 else []
        candidates = [(rows.document(row), score) for row, score in fused(found)]
        if model is None:
            return candidates[:k]
        best = [document for document, _ in candidates[:most]]
        ranked = model.rank(query, [document.page_content for document in best], top_k=k) if best else []
        return [(best[position], score) for position, score in ranked]

    def search(self, query: str, search_type: str, **kwargs: Any) -> list[Document]:
        """The documents found by a search of this type: one of LangChain's types or "hybrid"."""
        if search_type == "hybrid":
            return self.hybrid_search(query, **kwargs)
        return super().search(query, search_type, **kwargs)

    async def asearch(self, query: str, search_type: str, **kwargs: Any) -> list[Document]:
        """`search` without blocking the event loop."""
        if search_type == "hybrid":
            return await self.ahybrid_search(query, **kwargs)
        return await super().asearch(query, search_type, **kwargs)

    def as_retriever(self, **kwargs: Any) -> HybridRetriever:
        """A retriever over this store; `search_type` may also be "hybrid", with the arguments of `hybrid_search`."""
        tags = kwargs.pop("tags", None) or [*self._get_retriever_tags()]
        return HybridRetriever(vectorstore=self, tags=tags, **kwargs)

    def _chosen(self, searches: Sequence[Search] | None) -> Sequence[Search]:
        if searches is None:
            return ("dense", self._searches[-1])
        is_list = isinstance(searches, Sequence) and not isinstance(searches, str)
        if not is_list or not searches or not set(searches) <= set(self._searches):
            known = ", ".join(map(repr, self._searches))
            raise OptionError(f"searches must be a list of some that the store has, {known}, got {searches!r}")
        return tuple(dict.fromkeys(searches))


def fused(found: Sequence[Sequence[dict[str, Any]]]) -> list[tuple[dict[str, Any], float]]:
    """Reciprocal rank fusion: each row once, with the sum of 1 / (60 + its rank) in the searches that found it.

    Args:
        found: the rows of each search, best first, starting with rank 1.

    Returns:
        The rows and their scores, best first; ties keep the order of the searches.
    """
    rows_by_id = {row["id"]: row for each in found for row in each}
    scores: dict[str, float] = {}
    for each in found:
        for rank, row in enumerate(each, 1):
            scores[row["id"]] = scores.get(row["id"], 0) + 1 / (_RRF_K + rank)
    return [(rows_by_id[id_], scores[id_]) for id_ in sorted(scores, key=lambda id_: -scores[id_])]


def refuse(options: Mapping[str, Any]) -> None:
    """Raises TypeError for unknown arguments."""
    if options:
        raise TypeError(f"the store has no option {next(iter(options))!r}")
