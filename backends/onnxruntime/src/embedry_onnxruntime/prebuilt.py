"""Runs the ONNX file of a registry entry, for architectures that embedry-graphs does not support."""

from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from embedry import ModelSpec, UnsupportedModelError
from embedry.modules import Pooling
from embedry_onnxruntime.session import OnnxEncoder

INPUT_NAMES = ("input_ids", "attention_mask", "token_type_ids")


class PrebuiltEncoder(OnnxEncoder):
    """A standard exported graph: takes int64 ids, mask and optional token types, returns token vectors, which are pooled here."""

    def __init__(self, path: Path, spec: ModelSpec, threads: int) -> None:
        super().__init__(path, threads=threads, precision="fp32", optimize=True)
        self._first = spec.body == (Pooling(mode="cls"),)
        self._inputs = {
            node.name: np.int64 if node.type == "tensor(int64)" else np.int32 for node in self._wide.get_inputs()
        }
        output = self._wide.get_outputs()[0]
        unknown = sorted(set(self._inputs) - set(INPUT_NAMES))
        if unknown or len(output.shape) != 3:
            raise UnsupportedModelError(
                f"the ONNX file {path} of {spec.name!r} must take {', '.join(INPUT_NAMES)} and give token vectors first; "
                f"it takes {', '.join(self._inputs)} and gives {output.name} {output.shape}"
            )

    def run(
        self,
        session: onnxruntime.InferenceSession,
        ids: NDArray[np.int32],
        mask: NDArray[np.int32],
        *segments: NDArray[np.int32],
    ) -> NDArray[np.float32]:
        """Pooled vectors of a batch, float32 (batch, dims)."""
        values = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        feed = {name: values[name].astype(dtype) for name, dtype in self._inputs.items()}
        tokens: NDArray[np.float32] = session.run(None, feed)[0]
        if self._first:
            return tokens[:, 0]
        weights = mask.astype(np.float32)
        means: NDArray[np.float32] = np.einsum("bsd,bs->bd", tokens, weights) / weights.sum(axis=1, keepdims=True)
        return means


def load(path: Path, spec: ModelSpec, threads: int) -> PrebuiltEncoder:
    """The encoder of an ONNX file.

    Raises:
        UnsupportedModelError: its inputs or outputs do not match a text encoder.
        BackendError: the runtime rejects the file.
    """
    return PrebuiltEncoder(path, spec, threads)
