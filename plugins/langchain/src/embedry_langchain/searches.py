"""The searches of a store's table: by vector, by words and by terms. Each returns rows, best first."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from lancedb.index import FTS
from lancedb.table import Table
from numpy.typing import NDArray

from embedry import SparseVectors
from embedry_langchain.tables import is_conflict

_ROW = ["id", "text", "metadata"]

_ATTEMPTS = 5
"""To make the index of words, while others write."""


def by_vector(
    table: Table, vector: NDArray[np.float32], k: int, condition: str | None, metric: str
) -> list[dict[str, Any]]:
    """The k rows closest to a vector, float32 (dims,), each with its `vector` and its `_distance` by the metric."""
    query: Any = table.search(vector)  # its declared type is too narrow
    search = query.distance_type(metric).select([*_ROW, "vector", "_distance"]).limit(k)
    found: list[dict[str, Any]] = _filtered(search, condition).to_list()
    return found


def by_words(table: Table, words: str, k: int, condition: str | None) -> list[dict[str, Any]]:
    """The k best rows whose text has words of the query, each with its BM25 `_score`; ties are ordered by id.

    The first search builds LanceDB's full-text index if the table has none.
    """
    _index_words(table)
    search: Any = table.search(words, query_type="fts", fts_columns="text")
    found = _filtered(search.select([*_ROW, "_score"]).limit(k), condition).to_list()
    return sorted(found, key=lambda row: (-row["_score"], row["id"]))


def by_terms(table: Table, query: SparseVectors, k: int, condition: str | None) -> list[dict[str, Any]]:
    """The k rows with the largest dot product with the query's sparse vector, above 0; ties are ordered by id.

    Scans all rows in blocks.

    Args:
        table: a table with the column `sparse`.
        query: the sparse vector of one text.
        k: the number of rows.
        condition: a filter on the rows.
    """
    weights = query.to_dense()[0]
    best: list[tuple[float, str]] = []
    scan: Any = table.search()
    for batch in _filtered(scan.select(["id", "sparse"]), condition).to_batches():
        scores = _products(batch["sparse"], weights)
        ids = batch["id"].take(pa.array(np.flatnonzero(scores > 0))).to_pylist()
        best = sorted([*best, *zip((-scores[scores > 0]).tolist(), ids, strict=True)])[:k]
    rows = {row["id"]: row for row in by_ids(table, [each for _, each in best])}
    return [rows[each] for _, each in best if each in rows]


def by_ids(table: Table, ids: Sequence[str]) -> list[dict[str, Any]]:
    """The stored rows with these ids, in any order."""
    search: Any = table.search()
    found: list[dict[str, Any]] = search.where(has_id(ids)).select(_ROW).limit(len(ids)).to_list() if ids else []
    return found


def has_id(ids: Sequence[str]) -> str:
    """The condition that a row has one of these ids."""
    return "id in (" + ", ".join("'" + wanted.replace("'", "''") + "'" for wanted in ids) + ")"


def _filtered(search: Any, condition: str | None) -> Any:
    return search if condition is None else search.where(condition)


def _products(stored: Any, weights: NDArray[np.float32]) -> NDArray[np.float64]:
    """The dot products of stored sparse vectors, a StructArray, with a query's weights of all terms, float32 (terms,)."""
    indices = stored.field("indices")
    texts = np.repeat(np.arange(len(indices)), np.diff(indices.offsets.to_numpy()))
    products = stored.field("values").flatten().to_numpy() * weights[indices.flatten().to_numpy()]
    return np.bincount(texts, products, minlength=len(indices)).astype(np.float64)


def _index_words(table: Table) -> None:
    for attempt in range(_ATTEMPTS):
        if any(index.columns == ["text"] and index.index_type == "FTS" for index in table.list_indices()):
            return
        try:
            table.create_index("text", config=FTS())
        except RuntimeError as error:  # if two create it at the same time, the second fails and uses the first one's
            if not is_conflict(error) or attempt == _ATTEMPTS - 1:
                raise
