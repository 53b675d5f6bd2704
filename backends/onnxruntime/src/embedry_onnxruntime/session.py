"""Running a compiled graph: one inference session, used by several threads at once."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from embedry import BackendError, Encoder, ModelSpec
from embedry_onnxruntime import compiled

BATCH_TOKENS = 512
"""Padded tokens a batch. Measured: fewer leave the products small, more overflow the caches and fault in fresh pages."""

_PROVIDER = "CPUExecutionProvider"


class OnnxEncoder(Encoder):
    """See `embedry.Encoder`. Each batch computes on the thread that brings it; many batches fill the processors.

    That beats one batch at a time spread over all threads: no thread waits for another at the end of every product.
    """

    batch_tokens = BATCH_TOKENS

    def __init__(self, session: onnxruntime.InferenceSession, workers: int) -> None:
        self._session = session
        self.workers = workers
        self.info: Mapping[str, str] = {
            "engine": f"onnxruntime {onnxruntime.__version__}",
            "provider": session.get_providers()[0],
            "precision": "fp32",
            "workers": f"{workers} of 1 thread",
        }

    def forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        """Pooled vectors of a batch, float32 (batch, dims)."""
        pooled: NDArray[np.float32] = self._session.run(["pooled"], {"input_ids": ids, "attention_mask": mask})[0]
        return pooled


def load(spec: ModelSpec, source: Path, *, threads: int, cache_dir: Path) -> OnnxEncoder:
    """The encoder of the model whose verified files are in `source`; its graph is compiled if that was not done yet."""
    with compiled.folder(spec, source, cache_dir) as folder:
        # The graph is written in its final form; leaving it as it is also saves a third of the start.
        return OnnxEncoder(open_session(folder / "model.onnx", optimize=False), threads)


def open_session(path: Path, *, optimize: bool) -> onnxruntime.InferenceSession:
    """An inference session on the CPU with one thread of its own, to be run from many.

    Raises:
        BackendError: the runtime does not accept the graph, or would run it elsewhere.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    # Plans for memory are made for one shape of input; here every batch has another.
    options.enable_mem_pattern = False
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(path, options, providers=[_PROVIDER])
    except Exception as error:  # the runtime has an exception class for each of its status codes, without a common base
        raise BackendError(
            f"onnxruntime {onnxruntime.__version__} does not accept the graph {path}: {error}"
        ) from error
    if session.get_providers()[0] != _PROVIDER:
        raise BackendError(f"onnxruntime runs on {session.get_providers()[0]} where {_PROVIDER} was asked for")
    return session
