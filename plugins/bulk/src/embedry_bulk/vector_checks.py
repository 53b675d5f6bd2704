"""Checks whether stored vectors can come from a model."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from embedry import SparseVectors, TokenVectors
from embedry_bulk.plan import Plan
from embedry_bulk.stored import Vectors

LENGTH_TOLERANCE = {"float32": 1e-3, "float16": 5e-3}
"""How far the length of a normalized vector may be from 1. The other encodings do not keep it."""


def wrong_with_vectors(plan: Plan, vectors: Vectors) -> Iterator[str]:
    """The problems of vectors, each once."""
    if isinstance(vectors, SparseVectors):
        yield from _wrong_with_terms(vectors)
    else:
        yield from _wrong_with_numbers(plan, vectors.values if isinstance(vectors, TokenVectors) else vectors)


def _wrong_with_numbers(plan: Plan, vectors: NDArray[np.float32]) -> Iterator[str]:
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.isfinite(lengths).all():
        yield "has vectors that are not finite"
        return
    tolerance = LENGTH_TOLERANCE.get(plan.job.encoding)
    if (
        plan.job.space.normalize
        and tolerance
        and len(lengths)
        and (worst := float(np.abs(lengths - 1).max())) > tolerance
    ):
        yield f"has a vector whose length is {worst:.4f} away from 1"


def _wrong_with_terms(vectors: SparseVectors) -> Iterator[str]:
    indices, values = vectors.indices, vectors.values
    if not np.isfinite(values).all():
        yield "has weights that are not finite"
    elif values.min(initial=1) <= 0:
        yield f"has a weight of {values.min():g}, and all must be above 0"
    elif indices.min(initial=0) < 0 or indices.max(initial=0) >= vectors.dims:
        wrong = indices.min() if indices.min() < 0 else indices.max()
        yield f"has the term {wrong}, and those of the model are 0 to {vectors.dims - 1:,}"
    else:
        ascend = np.diff(indices) > 0
        firsts = vectors.indptr[(vectors.indptr > 0) & (vectors.indptr < len(indices))]
        ascend[firsts - 1] = True  # from one text to the next
        if not ascend.all():
            yield "has terms that do not ascend"
