"""A reranker for LanceDB searches: vector, full-text and hybrid."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from lancedb.rerankers import Reranker  # noqa: TID253  the base of our class

from embedry import LazyReranker, ModelSpec, OptionError, RerankerOptions
from embedry.resolver import ranking

if TYPE_CHECKING:
    import pyarrow


class EmbedryReranker(Reranker):
    """Reranks the results of a search by how well their text answers the query. The first call loads the model.

    The column `_relevance_score` (float32) contains the scores. Ties keep their order.

    Args:
        model: a name, an alias, a repository id, a folder or an entry, as `embedry.resolve_reranker` accepts it, or a
            resolved model.
        column: the column of the texts.
        return_score: "relevance", or "all" to keep `_distance` and `_score` too.
        **options: options of `embedry.resolve_reranker`: backend, device, threads and so on.

    Raises:
        ValueError: `return_score` has another value.
        OptionError: the model returns several scores per pair, or options are given for a resolved model.
        UnknownModelError, UnsupportedModelError, UnknownOptionError: as `resolve_reranker`.
    """

    def __init__(
        self,
        model: str | Path | ModelSpec | LazyReranker,
        *,
        column: str = "text",
        return_score: Literal["relevance", "all"] = "relevance",
        **options: Unpack[RerankerOptions],
    ) -> None:
        super().__init__(return_score)
        self.reranker = ranking(model, **options)
        self.column = column

    def __str__(self) -> str:
        return f"EmbedryReranker({self.reranker.name!r})"

    def rerank_hybrid(
        self, query: Any, vector_results: "pyarrow.Table", fts_results: "pyarrow.Table"
    ) -> "pyarrow.Table":
        """Reranks the rows of both searches, each once. LanceDB fills the score columns of both searches."""
        return self._ranked(query, self.merge_results(vector_results, fts_results))

    def rerank_vector(self, query: Any, vector_results: "pyarrow.Table") -> "pyarrow.Table":
        """Reranks the rows of a vector search; pass `query_string` to `rerank`."""
        return self._ranked(query, vector_results)

    def rerank_fts(self, query: Any, fts_results: "pyarrow.Table") -> "pyarrow.Table":
        """Reranks the rows of a full-text search."""
        return self._ranked(query, fts_results)

    def _ranked(self, query: Any, found: "pyarrow.Table") -> "pyarrow.Table":
        import pyarrow as pa

        words = query if isinstance(query, str) else getattr(query, "query", None)  # that of a MatchQuery and its like
        if not isinstance(words, str):
            raise TypeError(f"the query must be a str, or a full-text query with one, got {query!r}")
        if self.column not in found.column_names:
            raise OptionError(
                f"there is no column {self.column!r} to rank by among {', '.join(found.column_names)}; "
                "name the one with the texts: EmbedryReranker(..., column=NAME)"
            )
        ranked = self.reranker.rank(words, found[self.column].to_pylist())
        ordered = found.take(pa.array([position for position, _ in ranked], pa.int64()))
        scores = pa.array([score for _, score in ranked], pa.float32())
        return self._keep_relevance_score(ordered.append_column("_relevance_score", scores))
