"""Reads weights files: their tensors, checks for damage, and their values. numpy is imported on first use."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embedry.errors import IntegrityError, UnsupportedModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NOT_READ = (
    "pooler.", "embeddings.position_ids", "embeddings.token_type_ids", "cls.", "lm_head.", "vocab_transform.",
    "vocab_layer_norm.", "vocab_projector.", "classifier.",
)  # fmt: skip
"""Parts that token vectors do not depend on: heads of pretraining and of classifiers, and buffers that old versions saved."""

_NOT_READ_OF = {
    "modernbert": ("head.", "decoder."),
    "t5": ("decoder.", "encoder.embed_tokens."),  # the latter is `shared` under another name
}
"""Architecture -> parts of it that its token vectors do not depend on, by names that elsewhere may mean others."""

_PARAMETERS = ("weight", "bias", "gamma", "beta")
"""Last parts of the names of trained values. Others are buffers, such as masks of -1e9, and may hold anything."""

_MAY_BE_ZERO = ("token_type_embeddings", "pooler.")
"""Matrices that some good checkpoints hold as zeros: XLM-RoBERTa's conversion wrote them so."""

_LARGEST = 65504.0
"""The largest finite float16 (IEEE 754): a weight beyond it could never have been run in half precision."""

_FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""The types of safetensors that weights may have -> how numpy reads them; bfloat16 is the upper half of a float32."""

_OLD_NAMES = {".gamma": ".weight", ".beta": ".bias"}
"""Ends of names that TensorFlow's layer norms left in old checkpoints -> those of today."""

_LARGEST_HEADER = 16 * 2**20
"""Bytes. The format allows 100 MB, which become gigabytes when read; that of a model with 100,000 tensors has 12 MB."""


@dataclass(frozen=True)
class Tensor:
    """Where one tensor lies: its type as safetensors names it, its shape, and its bytes' place in the file."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    def values(self) -> "NDArray[np.float32]":
        """The tensor as float32."""
        import numpy as np

        kind = np.dtype(_FLOATS[self.dtype])
        with open(self.path, "rb") as file:
            flat = np.fromfile(file, kind, (self.end - self.start) // kind.itemsize, offset=self.start)
        if self.dtype == "BF16":
            flat = (flat.astype(np.uint32) << 16).view(np.float32)
        with np.errstate(over="ignore"):  # a float64 may become infinite, which is seen where the values are checked
            return flat.astype(np.float32, copy=False).reshape(self.shape)


def is_read(name: str, architecture: str = "") -> bool:
    """Whether a model's token vectors may depend on the tensor of this name, given without the model's own prefix."""
    return name.rpartition(".")[2] in _PARAMETERS and not name.startswith(
        _NOT_READ + _NOT_READ_OF.get(architecture, ())
    )


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, under today's names. Only its header is read.

    Raises:
        IntegrityError: the file is damaged or cut short, or names a tensor twice.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _LARGEST_HEADER:
                raise ValueError(f"its header length of {length} bytes exceeds the maximum")
            with safe_open(path, framework="numpy"):
                pass  # the format's own library looks whether the header is true: lengths, offsets, types
            header = json.loads(file.read(length))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise IntegrityError(f"{path} cannot be read as safetensors, it is damaged or cut short: {error}") from error
    header.pop("__metadata__", None)
    found: dict[str, Tensor] = {}
    for stored, entry in header.items():
        name = next((stored.removesuffix(old) + new for old, new in _OLD_NAMES.items() if stored.endswith(old)), stored)
        if name in found:
            raise IntegrityError(f"{path} has the tensor {name!r} twice, under an old and a new name")
        start, end = entry["data_offsets"]
        found[name] = Tensor(path, entry["dtype"], tuple(entry["shape"]), 8 + length + start, 8 + length + end)
    return found


def check_types(path: Path) -> None:
    """Checks that trained values are floating point, in a type that every engine reads.

    Raises:
        UnsupportedModelError: one is not; names the tensor and its type.
        IntegrityError: as `tensors`.
    """
    for name, tensor in tensors(path).items():
        if _is_trained(name, tensor) and tensor.dtype not in _FLOATS:
            raise UnsupportedModelError(
                f"the tensor {name!r} of {path} is {tensor.dtype}; weights must be one of {', '.join(_FLOATS)}"
            )


def check(path: Path) -> None:
    """Reads every trained value of a safetensors file once.

    Raises:
        IntegrityError: the file cannot be read, or a tensor has values that are not finite, or beyond what half precision
            can hold, or a matrix is all zeros; the message names the tensor.
    """
    for name, tensor in tensors(path).items():
        if _is_trained(name, tensor) and tensor.dtype in _FLOATS:
            fault = _fault(name, tensor)
            if fault:
                raise IntegrityError(f"tensor {name!r} of {path} {fault}; the file is damaged, fetch it again")


def _is_trained(name: str, tensor: Tensor) -> bool:
    # GPT-2 calls the mask of its attention a bias; a trained one has one dimension.
    return name.rpartition(".")[2] in _PARAMETERS and not (name.endswith("bias") and len(tensor.shape) > 1)


def _fault(name: str, tensor: Tensor) -> str:
    import numpy as np

    if tensor.start == tensor.end:
        return ""
    values = tensor.values()
    # The largest magnitude tells all three: it is NaN or infinite if any value is, and 0 if all are.
    largest = max(float(values.max()), -float(values.min()))
    if not np.isfinite(largest):
        return "has values that are not finite"
    if largest > _LARGEST:
        return f"has a value of {largest:.3g}, beyond any that a trained model holds"
    is_weight = name.endswith("weight") and not any(part in name for part in _MAY_BE_ZERO)
    return "is all zeros" if largest == 0 and is_weight else ""
