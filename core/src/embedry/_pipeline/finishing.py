"""From pooled to finished vectors, in the one right order: check, shorten, normalise."""

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
    finite = np.isfinite(pooled)
    if not finite.all():
        bad = rows - np.count_nonzero(finite.all(axis=1))
        raise BackendError(
            f"the backend returned values that are not finite for {bad} of {rows} texts; the weights are damaged"
        )
    short = pooled[:, :dims]
    if not normalize:
        return short
    norms = np.sqrt(np.vecdot(short, short))
    unit: NDArray[np.float32] = short / np.maximum(norms, _TINY)[:, np.newaxis]
    return unit
