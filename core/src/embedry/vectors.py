"""From pooled to finished vectors, in the one right order: check, shorten, normalise."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embedry.errors import BackendError

_TINY = 1e-12
"""Smallest norm divided by, as in torch.nn.functional.normalize: a zero vector stays zero."""


def finish(
    pooled: NDArray[np.float32], *, rows: int, full_dims: int, dims: int, normalize: bool
) -> NDArray[np.float32]:
    """Vectors of the asked length from a backend's pooled ones, both float32, (rows, full_dims) -> (rows, dims).

    Raises:
        BackendError: the backend returned another shape or dtype, or a value that is not finite.
    """
    if pooled.shape != (rows, full_dims) or pooled.dtype != np.float32:
        raise BackendError(
            f"the backend returned {pooled.dtype} {pooled.shape}, the entry promises float32 {(rows, full_dims)}; "
            "the weights or the entry's dims are wrong"
        )
    if not np.isfinite(pooled).all():
        bad = np.flatnonzero(~np.isfinite(pooled).all(axis=1))
        raise BackendError(
            f"the backend returned values that are not finite for {len(bad)} of {rows} texts; the weights are damaged"
        )
    short = pooled[:, :dims]
    if not normalize:
        return short
    norms = np.sqrt(np.einsum("ij,ij->i", short, short))
    unit: NDArray[np.float32] = np.divide(short, np.maximum(norms, _TINY)[:, np.newaxis], dtype=np.float32)
    return unit


def batches(lengths: Sequence[int], budget: int, workers: int = 1) -> list[NDArray[np.intp]]:
    """Groups texts of like length, longest first: each group's number times its longest length stays within `budget`.

    A text longer than the budget goes alone. Longest first, the largest memory is taken once, at the start. What is more
    than one batch is shared by the workers, and the last batches are smaller, so that no worker ends long after the others.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.intp), kind="stable")
    one_is_enough = len(order) * max(lengths, default=0) <= budget
    least = budget if one_is_enough else budget // 4
    groups: list[NDArray[np.intp]] = []
    start = 0
    while start < len(order):
        longest = max(1, lengths[order[start]])
        share = longest * (len(order) - start) // workers
        count = max(1, min(budget, max(least, share)) // longest)
        groups.append(order[start : start + count])
        start += count
    return groups


def padded(rows: Sequence[NDArray[np.int32]], pad_id: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Ids and mask, both int32 (texts, longest), padded on the right."""
    width = max(1, *(len(row) for row in rows))  # a text may have no token at all
    ids = np.full((len(rows), width), pad_id, dtype=np.int32)
    mask = np.zeros((len(rows), width), dtype=np.int32)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
        mask[place, : len(row)] = 1
    return ids, mask
