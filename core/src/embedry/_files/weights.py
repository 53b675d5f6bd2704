"""Is a weights file sound? For models without a digest to compare with, and for every backend alike.

Loaders take a file that is half zeros, or holds a NaN, without a word, and give wrong vectors. Here such a file is an error.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from embedry.errors import IntegrityError

_NOT_READ = (
    "pooler.", "embeddings.position_ids", "cls.", "lm_head.", "vocab_transform.", "vocab_layer_norm.", "vocab_projector.",
)  # fmt: skip
"""Parts that token vectors do not depend on: heads of pretraining, and a buffer that old versions saved."""

_MAY_BE_ZERO = ("token_type_embeddings", "pooler.")
"""Matrices that some good checkpoints hold as zeros: XLM-RoBERTa's conversion wrote them so."""

_LARGEST = 65504.0
"""The largest finite float16 (IEEE 754): a weight beyond it could never have been run in half precision."""


def is_read(name: str) -> bool:
    """Whether a model's token vectors depend on the tensor of this name, given without the model's own prefix."""
    return not name.startswith(_NOT_READ)


def check(path: Path) -> None:
    """Reads every tensor of a safetensors file once.

    Raises:
        IntegrityError: the file cannot be read, or a tensor has values that are not finite, or beyond what half precision
            can hold, or a matrix is all zeros; the message names the tensor.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118  it is no mapping
                try:
                    tensor = file.get_tensor(name)
                except TypeError:  # bfloat16, which numpy lacks; whoever can compute with it reads it
                    continue
                fault = _fault(name, tensor)
                if fault:
                    raise IntegrityError(f"tensor {name!r} of {path} {fault}; the file is damaged, fetch it again")
    except (SafetensorError, OSError) as error:
        raise IntegrityError(f"{path} cannot be read as safetensors, it is damaged or cut short: {error}") from error


def _fault(name: str, tensor: NDArray[np.generic]) -> str:
    if tensor.dtype.kind != "f" or not tensor.size:
        return ""
    # The largest magnitude tells all three: it is NaN or infinite if any value is, and 0 if all are.
    largest = max(float(tensor.max()), -float(tensor.min()))
    if not np.isfinite(largest):
        return "has values that are not finite"
    if largest > _LARGEST:
        return f"has a value of {largest:.3g}, beyond any that a trained model holds"
    is_weight = name.endswith("weight") and not any(part in name for part in _MAY_BE_ZERO)
    return "is all zeros" if largest == 0 and is_weight else ""
