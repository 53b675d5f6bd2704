"""Similarity of vectors by the measure that their model was trained for. Higher always means more similar.

The measures are those of sentence-transformers: cosine, dot product, and negated Euclidean and Manhattan distances.
"""

from typing import TYPE_CHECKING, NamedTuple

from embedry.errors import OptionError
from embedry.options import is_count
from embedry.spec import Similarity

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

_MOST_SCORES = 2**24
"""Scores in memory at a time, 64 MB."""

_MOST_GAPS = 2**22
"""Differences between components in memory at a time, 16 MB."""


class Hits(NamedTuple):
    """The most similar documents for each query, best first; ties keep the given order."""

    positions: "NDArray[np.intp]"
    """(queries, k)"""
    scores: "NDArray[np.float32]"
    """(queries, k)"""


def as_rows(vectors: "ArrayLike", dims: int, name: str) -> "NDArray[np.float32]":
    """Vectors as float32 (vectors, dims); a single vector becomes the only row.

    Raises:
        OptionError: their length is not `dims`.
    """
    import numpy as np

    rows = np.atleast_2d(np.asarray(vectors, dtype=np.float32))
    if rows.ndim != 2 or rows.shape[1] != dims:
        raise OptionError(f"{name} must have the shape (vectors, {dims}), got {np.shape(vectors)}")
    return rows


def matrix(measure: Similarity, left: "NDArray[np.float32]", right: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """The similarity of each vector of `left`, float32 (n, dims), with each of `right`, (m, dims): float32 (n, m)."""
    import numpy as np

    if measure == "cosine":
        left, right = _unit(left), _unit(right)
    if measure in ("cosine", "dot"):
        return left @ right.T
    found = np.empty((len(left), len(right)), dtype=np.float32)
    step = max(1, _MOST_GAPS // max(1, right.shape[1]))
    for row, vector in zip(found, left, strict=True):
        for start in range(0, len(right), step):
            gaps = right[start : start + step] - vector
            row[start : start + step] = np.linalg.norm(gaps, ord=2 if measure == "euclidean" else 1, axis=1)
    return np.negative(found, out=found)


def top_k(measure: Similarity, queries: "NDArray[np.float32]", documents: "NDArray[np.float32]", k: int) -> Hits:
    """The `k` most similar documents for each query, or all if there are fewer. Exact, in bounded memory.

    Raises:
        OptionError: `k` is not a positive integer.
    """
    import numpy as np

    if not is_count(k) or k < 1:
        raise OptionError(f"k must be a positive integer, got {k!r}")
    k = min(k, len(documents))
    hits = Hits(np.empty((len(queries), k), dtype=np.intp), np.empty((len(queries), k), dtype=np.float32))
    step = max(1, _MOST_SCORES // max(1, len(documents)))
    for start in range(0, len(queries) if k else 0, step):
        for place, row in enumerate(matrix(measure, queries[start : start + step], documents), start):
            least = np.partition(row, -k)[-k]
            found = np.flatnonzero(row >= least)  # of equal ones all, so that the first of them is taken
            hits.positions[place] = found[np.argsort(-row[found], kind="stable")[:k]]
            hits.scores[place] = row[hits.positions[place]]
    return hits


def _unit(vectors: "NDArray[np.float32]") -> "NDArray[np.float32]":
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: NDArray[np.float32] = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)  # zeros stay zeros
    return unit
