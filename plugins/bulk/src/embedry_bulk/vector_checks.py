"""Whether vectors that were read again can be those of a model."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from embedry_bulk.plan import Plan

LENGTH_TOLERANCE = {"float32": 1e-3, "float16": 5e-3}
"""How far the length of a normalized vector may be from 1. The other encodings do not keep it."""


def wrong_with_vectors(plan: Plan, vectors: NDArray[np.float32]) -> Iterator[str]:
    """What is wrong with vectors, float32 (n, dims), once."""
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
