"""Validates an engine's vectors and runs the tail of the model's chain on them."""

import numpy as np
from numpy.typing import NDArray

from embedry.errors import BackendContractError
from embedry.modules import Chain, LayerNorm, Normalize, Truncate

_TINY = 1e-12
"""Smallest norm divided by, as in torch.nn.functional.normalize: a zero vector stays zero."""

_EPSILON = 1e-5
"""Added to the variance by a layer norm, as torch.nn.functional.layer_norm does by default."""


def finish(pooled: NDArray[np.float32], tail: Chain, *, rows: int, width: int) -> NDArray[np.float32]:
    """Finished vectors from an engine's, both float32: (rows, width) -> (rows, dims).

    Args:
        pooled: what the engine returned.
        tail: the end of the chain, of modules without weights.
        rows: texts in the batch.
        width: length of a vector as the engine gives it.

    Raises:
        BackendContractError: the engine returned another shape or dtype, or a value that is not finite.
    """
    if pooled.shape != (rows, width) or pooled.dtype != np.float32:
        raise BackendContractError(
            f"the backend returned {pooled.dtype} {pooled.shape}, but the entry says float32 {(rows, width)}; "
            "the weights or the entry's dims are wrong"
        )
    finite = np.isfinite(pooled)
    if not finite.all():
        bad = rows - np.count_nonzero(finite.all(axis=1))
        raise BackendContractError(
            f"the backend returned values that are not finite for {bad} of {rows} texts; the weights are damaged"
        )
    x = pooled
    for module in tail:
        if isinstance(module, Normalize):
            x = x / np.maximum(np.sqrt(np.vecdot(x, x)), _TINY)[:, np.newaxis]
        elif isinstance(module, Truncate):
            x = x[:, : module.dims]
        elif isinstance(module, LayerNorm):
            centered = x - x.mean(axis=1, keepdims=True)
            x = centered / np.sqrt(np.vecdot(centered, centered)[:, np.newaxis] / x.shape[1] + np.float32(_EPSILON))
    return x
