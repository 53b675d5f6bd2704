"""Results of models of all kinds as comparable arrays, one for each text."""

from collections.abc import Collection
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedry.ragged import SparseVectors
from embedry.reranking import LazyReranker

Arrays: TypeAlias = list[NDArray[np.float32]]
"""An array for each text: a vector (dims,), including zeros for a sparse model; (tokens, dims) for a multi-vector model; the
logits of a pair, (labels,), for a reranker."""

QUERY, DOCUMENT = "paid when?", "in 14 days"
"""The other text of a reranker's pairs; short, because the longer text of a pair is truncated."""


def asked(model: Any, texts: Collection[str], role: str) -> tuple[list[Any], str]:
    """The arguments for a model: the texts and their role, or for a reranker pairs and the role of their queries.

    Documents are paired with `QUERY`; texts in other roles are queries and paired with `DOCUMENT`.
    """
    if not isinstance(model, LazyReranker):
        return list(texts), role
    if role == "document":
        return [(QUERY, text) for text in texts], "query"
    return [(text, DOCUMENT) for text in texts], role


def given(model: Any, items: Collection[Any], role: str) -> Any:
    """A model's results for the items of `asked`; for a reranker, the logits."""
    return (model.logits if isinstance(model, LazyReranker) else model.encode)(items, role=role)


def arrays(found: Any) -> Arrays:
    """A model's results as one array for each text."""
    return list(found.to_dense() if isinstance(found, SparseVectors) else found)


def results(model: Any, texts: Collection[str], role: str = "document") -> Arrays:
    """A model's results for texts in a role; for a reranker, for the pairs of `asked`."""
    return arrays(given(model, *asked(model, texts, role)))


def difference(a: Arrays | NDArray[Any], b: Arrays | NDArray[Any]) -> float:
    """The largest difference of two results, divided by their largest value if that exceeds 1; infinite if shapes differ."""
    if [np.shape(each) for each in a] != [np.shape(each) for each in b]:
        return float("inf")
    apart = [np.abs(one - other).max(initial=0.0) for one, other in zip(a, b, strict=True)]
    largest = [np.abs(each).max(initial=0.0) for each in (*a, *b)]
    return float(np.max(apart, initial=0.0) / np.max(largest, initial=1.0))
