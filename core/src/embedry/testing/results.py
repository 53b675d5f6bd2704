"""What models of all kinds give for texts, as arrays that can be compared, one for each text."""

from collections.abc import Collection
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedry.ragged import SparseVectors
from embedry.reranking import LazyReranker

Arrays: TypeAlias = list[NDArray[np.float32]]
"""For each text a vector (dims,), of a sparse model with its zeros; of a multi-vector model (tokens, dims), and of a reranker the
logits of a pair, (labels,)."""

QUERY, DOCUMENT = "paid when?", "in 14 days"
"""The other text of a reranker's pairs: short, because of a pair the longer text is truncated."""


def asked(model: Any, texts: Collection[str], role: str) -> tuple[list[Any], str]:
    """What a model is called with: the texts and their role; of a reranker pairs, and the role of their queries.

    As documents texts are paired with `QUERY`, and in any other role, as queries, with `DOCUMENT`.
    """
    if not isinstance(model, LazyReranker):
        return list(texts), role
    if role == "document":
        return [(QUERY, text) for text in texts], "query"
    return [(text, DOCUMENT) for text in texts], role


def given(model: Any, items: Collection[Any], role: str) -> Any:
    """What a model gives for what it reads, see `asked`: of a reranker the logits."""
    return (model.logits if isinstance(model, LazyReranker) else model.encode)(items, role=role)


def arrays(found: Any) -> Arrays:
    """What a model gives, one array for each text."""
    return list(found.to_dense() if isinstance(found, SparseVectors) else found)


def results(model: Any, texts: Collection[str], role: str = "document") -> Arrays:
    """What a model gives for texts in a role, of a reranker for the pairs of `asked`."""
    return arrays(given(model, *asked(model, texts, role)))


def difference(a: Arrays | NDArray[Any], b: Arrays | NDArray[Any]) -> float:
    """The largest difference of two results, divided by their largest value if that is above 1; infinite for other shapes."""
    if [np.shape(each) for each in a] != [np.shape(each) for each in b]:
        return float("inf")
    apart = [np.abs(one - other).max(initial=0.0) for one, other in zip(a, b, strict=True)]
    largest = [np.abs(each).max(initial=0.0) for each in (*a, *b)]
    return float(np.max(apart, initial=0.0) / np.max(largest, initial=1.0))
