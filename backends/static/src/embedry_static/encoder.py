"""Averages rows of a memory-mapped table: only the pages of occurring tokens are read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedry import IntegrityError, ModelSpec, UnsupportedModelError
from embedry.backend import Encoder, Tensor, tensors, unknown_token
from embedry.modules import StaticEmbedding

_BATCH_TOKENS = 32_768
"""Padded tokens a batch. Measured: fewer make more calls, more overflow the last cache with 256 values a row."""

_PIECE = 128
"""Tokens whose rows are held and added up at a time: in float32, so that a sum of thousands would lose digits; the sums of pieces are
added in float64. Measured: this is 40 times as fast as numpy.add.reduceat without padding."""

_TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""The types of safetensors that a table may have; bfloat16 is the upper half of a float32."""


class StaticEncoder(Encoder):
    """See `embedry.backend.Encoder`."""

    batch_tokens = _BATCH_TOKENS

    def __init__(self, spec: ModelSpec, folder: Path, *, threads: int) -> None:
        (module,) = (each for each in spec.body if isinstance(each, StaticEmbedding))
        stored = tensors(folder / module.weights)
        self._table, self._type = _mapped(stored, module, folder / module.weights)
        # For model2vec vocabularies whose tokens share rows: the row of each token, and its factor.
        shares = stored if module.tensor == "embeddings" else {}
        self._rows = _for_each_token(shares.get("mapping"), {"I64": "<i8", "I32": "<i4"})
        self._scales = _for_each_token(shares.get("weights"), {"F32": "<f4", "F64": "<f8"})
        _check_shares(self._rows, self._scales, len(self._table), folder / module.weights)
        self._unknown = unknown_token(folder / module.tokenizer) if module.skip_unknown else None
        self.workers = threads
        self.info: Mapping[str, str] = {
            "engine": f"numpy {np.__version__}",
            "precision": "fp32",
            "workers": f"{threads} of 1 thread",
            "memory": f"{self._table.nbytes / 1e6:,.0f} MB of weights, mapped",
        }

    def forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        """The mean row of each text's tokens, float32 (batch, outputs); zeros for a text with only unknown tokens."""
        counted = mask.astype(np.float32)
        if self._unknown is not None:
            counted[ids == self._unknown] = 0
        sums = np.zeros((len(ids), self._table.shape[1]))
        for start in range(0, ids.shape[1], _PIECE):
            piece = slice(start, start + _PIECE)
            sums += np.einsum("btd,bt->bd", self._vectors(ids[:, piece]), counted[:, piece])
        means: NDArray[np.float32] = (sums / np.maximum(counted.sum(axis=1), 1)[:, np.newaxis]).astype(np.float32)
        return means

    def _vectors(self, tokens: NDArray[np.int32]) -> NDArray[np.float32]:
        """The rows of tokens, (batch, tokens) -> float32 (batch, tokens, outputs)."""
        found = self._table[tokens if self._rows is None else self._rows[tokens]]
        if self._type == "BF16":
            found = (found.astype(np.uint32) << 16).view(np.float32)
        vectors: NDArray[np.float32] = found.astype(np.float32, copy=False)
        return vectors if self._scales is None else vectors * self._scales[tokens][..., np.newaxis].astype(np.float32)


def _mapped(stored: Mapping[str, Tensor], module: StaticEmbedding, path: Path) -> tuple[NDArray[Any], str]:
    """The mapped table and its safetensors type."""
    tensor = stored.get(module.tensor)
    if tensor is None or len(tensor.shape) != 2 or tensor.shape[1] != module.outputs:
        found = f"it is {tensor.shape}" if tensor is not None else f"it has {', '.join(sorted(stored))}"
        raise IntegrityError(f"{path} must have the table {module.tensor!r} with rows of {module.outputs}, and {found}")
    if tensor.dtype not in _TYPES:
        raise UnsupportedModelError(
            f"the table {module.tensor!r} of {path} is {tensor.dtype}; it must be one of {', '.join(_TYPES)}"
        )
    mapped = np.memmap(path, _TYPES[tensor.dtype], mode="r", offset=tensor.start, shape=tensor.shape)
    return mapped.view(np.ndarray), tensor.dtype


def _for_each_token(tensor: Tensor | None, types: Mapping[str, str]) -> NDArray[Any] | None:
    """Reads a tensor with one value per token; None if there is none."""
    if tensor is None:
        return None
    if tensor.dtype not in types or len(tensor.shape) != 1:
        raise UnsupportedModelError(
            f"a tensor of {tensor.path} is {tensor.dtype} {tensor.shape} where one value of {' or '.join(types)} for each token is expected"
        )
    with open(tensor.path, "rb") as file:
        return np.fromfile(file, types[tensor.dtype], tensor.shape[0], offset=tensor.start)


def _check_shares(rows: NDArray[Any] | None, scales: NDArray[Any] | None, count: int, path: Path) -> None:
    if rows is not None and not (rows.min(initial=0) >= 0 and rows.max(initial=0) < count):
        raise IntegrityError(f"the tensor 'mapping' of {path} names rows beyond the {count} of the table")
    if scales is not None and len(scales) != (count if rows is None else len(rows)):
        raise IntegrityError(
            f"the tensor 'weights' of {path} has {len(scales)} values for {count if rows is None else len(rows)} tokens"
        )
