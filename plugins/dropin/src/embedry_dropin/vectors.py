"""Shortens, normalizes and quantizes vectors, and converts them to arrays or tensors."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedry import OptionError, similarity
from embedry_dropin.unsupported import check_positive

if TYPE_CHECKING:
    from types import ModuleType

    import numpy as np
    from numpy.typing import NDArray

    from embedry.spec import Similarity

    Vectors = NDArray[np.float32]

_PRECISIONS = ("float32", "int8", "uint8", "binary", "ubinary")

_LEAST_LENGTH = 1e-12
"""The minimum divisor of torch.nn.functional.normalize."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """The form in which a call returns vectors. Applies the steps in the same order as sentence-transformers.

    Raises:
        OptionError: a value is not supported, or torch is needed and not installed.
    """

    dims: int | None
    """How many components to keep; None for all."""
    normalize: bool
    precision: str | None
    """One of "float32", "int8", "uint8", "binary" and "ubinary"; None for the first."""
    to_numpy: bool
    to_tensor: bool

    def __post_init__(self) -> None:
        if self.dims is not None:
            check_positive("truncate_dim", self.dims)
        if self.precision not in (None, *_PRECISIONS):
            raise OptionError(f"precision must be one of {', '.join(_PRECISIONS)}, got {self.precision!r}")
        if (self.to_tensor or not self.to_numpy) and torch() is None:
            argument = "convert_to_tensor=True" if self.to_tensor else "convert_to_numpy=False"
            raise OptionError(
                f"{argument} needs torch, which is not installed; try: pip install torch, or leave it out"
            )

    def of(self, vectors: "Vectors") -> Any:
        """Converts vectors, float32 (texts, dims), to a tensor, an array, or a list of tensors; see `SentenceTransformer.encode`."""
        import numpy as np

        if not len(vectors):  # the library returns this for any length
            found: NDArray[Any] = np.empty(0, dtype=np.float32 if self.to_tensor else np.float64)
        else:
            found = np.ascontiguousarray(vectors[:, : self.dims])
            found = unit(found) if self.normalize else found
            found = found if self.precision in (None, "float32") else _quantized(found, self.precision)
        if self.to_numpy and not self.to_tensor:
            return found
        return as_tensor(found) if self.to_tensor else list(as_tensor(found))


def unit(vectors: "Vectors") -> "Vectors":
    """The vectors scaled to unit length; a zero vector stays zero."""
    import numpy as np

    scaled: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), _LEAST_LENGTH)
    return scaled


def _quantized(vectors: "Vectors", precision: str | None) -> "NDArray[Any]":
    """Quantizes vectors like `sentence_transformers.util.quantize_embeddings`.

    "int8" and "uint8" divide the range of each component in this call into 256 steps: (texts, dims). "binary" and
    "ubinary" keep the signs, eight per byte: (texts, ceil(dims / 8)), int8 and uint8.

    Raises:
        OptionError: "int8" or "uint8" with a single vector, which has no ranges.
    """
    import numpy as np

    if precision in ("binary", "ubinary"):
        packed = np.packbits(vectors > 0, axis=-1)
        return packed if precision == "ubinary" else (packed - 128).astype(np.int8)
    if len(vectors) == 1:
        raise OptionError(
            f"precision={precision!r} divides the range of each component over the texts of a call, and one text has none; "
            "encode several texts together, or use precision='float32'"
        )
    least = vectors.min(axis=0)
    steps = (vectors.max(axis=0) - least) / 255
    numbers: Vectors = np.clip(np.floor((vectors - least) / np.where(steps == 0, 1, steps)), 0, 255)
    return numbers.astype(np.uint8) if precision == "uint8" else (numbers - 128).astype(np.int8)


def as_array(embeddings: Any) -> "Vectors":
    """Converts embeddings to float32: an array, a tensor on any device, or a list of either."""
    import numpy as np

    if isinstance(embeddings, list) and any(hasattr(each, "detach") for each in embeddings):
        embeddings = [as_array(each) for each in embeddings]
    if hasattr(embeddings, "detach"):
        embeddings = embeddings.detach().cpu().float().numpy()
    return np.asarray(embeddings, dtype=np.float32)


def matrix(measure: "Similarity", left: "Vectors", right: "Vectors") -> "Vectors":
    """The similarity of each vector in `left` to each in `right`, both (n, dims) or (dims,): float32 (n, m)."""
    import numpy as np

    return similarity.matrix(measure, np.atleast_2d(left), np.atleast_2d(right))


def pairwise(measure: "Similarity", left: "Vectors", right: "Vectors") -> "Vectors":
    """The similarity of each vector in `left`, (n, dims) or (dims,), to the one in `right` at its position: float32 (n,) or ()."""
    import numpy as np

    if measure == "cosine":
        left, right = unit(left), unit(right)
    if measure in ("cosine", "dot"):
        return np.asarray((left * right).sum(axis=-1))
    distances = np.linalg.norm(left - right, ord=2 if measure == "euclidean" else 1, axis=-1)
    return np.asarray(-distances)


def torch() -> "ModuleType | None":
    """Imports torch; None if it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    return torch


def as_tensor(array: "NDArray[Any]") -> Any:
    """Converts an array to a tensor, or returns it unchanged if torch is not installed."""
    library = torch()
    return array if library is None else library.from_numpy(array)
