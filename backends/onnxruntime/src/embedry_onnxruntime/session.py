"""Runs a graph: one inference session for single batches, one for concurrent batches."""

from collections.abc import Mapping
from pathlib import Path
from threading import Lock

import numpy as np
import onnxruntime
from numpy.typing import NDArray

import embedry_graphs as graphs
from embedry import BackendError
from embedry.backend import Encoder, PairEncoder
from embedry_graphs.budget import BATCH_TOKENS
from embedry_onnxruntime import packing

_PROVIDER = "CPUExecutionProvider"


class OnnxEncoder(Encoder, PairEncoder):
    """See `embedry.backend.Encoder`, and for rerankers `embedry.backend.PairEncoder`.

    A single batch, such as a query, uses all threads. Each of several concurrent batches runs on its calling thread, which avoids
    synchronization after every product.
    """

    def __init__(
        self, path: Path, *, threads: int, precision: str, optimize: bool, batch_tokens: int = BATCH_TOKENS
    ) -> None:
        self.batch_tokens = batch_tokens
        self._path = path
        self._optimize = optimize
        self._wide = open_session(path, threads=threads, optimize=optimize)
        self._narrow: onnxruntime.InferenceSession | None = self._wide if threads == 1 else None
        self._has_segments = any(each.name == graphs.SEGMENTS for each in self._wide.get_inputs())
        self._lock = Lock()
        self.workers = threads
        files = [path] if optimize else path.parent.iterdir()  # the weights are next to the compiled graph
        compiled = {} if optimize else {"graph": str(path.parent), "compiled for": packing.level(precision)}
        self.info: Mapping[str, str] = {
            "engine": f"onnxruntime {onnxruntime.__version__}",
            "provider": self._wide.get_providers()[0],
            "precision": precision,
            "workers": f"{threads} of 1 thread, or 1 of {threads}",
            "memory": f"{sum(file.stat().st_size for file in files) / 1e6:,.0f} MB of weights",
            **compiled,
        }

    def forward(
        self, ids: NDArray[np.int32], mask: NDArray[np.int32], *segments: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """The result of the chain's body, float32, computed on the calling thread."""
        return self.run(self._single(), ids, mask, *segments)

    def forward_wide(
        self, ids: NDArray[np.int32], mask: NDArray[np.int32], *segments: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """The same, computed on all threads."""
        return self.run(self._wide, ids, mask, *segments)

    def run(
        self,
        session: onnxruntime.InferenceSession,
        ids: NDArray[np.int32],
        mask: NDArray[np.int32],
        *segments: NDArray[np.int32],
    ) -> NDArray[np.float32]:
        """The same, with one of the two sessions."""
        feed = {"input_ids": ids, "attention_mask": mask}
        if self._has_segments:
            (feed[graphs.SEGMENTS],) = segments
        result: NDArray[np.float32] = session.run(None, feed)[0]
        return result

    def _single(self) -> onnxruntime.InferenceSession:
        if self._narrow is None:  # a process with only single queries does not need it
            with self._lock:
                if self._narrow is None:
                    self._narrow = open_session(self._path, threads=1, optimize=self._optimize)
        return self._narrow


def open_session(
    path: Path, *, threads: int, optimize: bool, settings: Mapping[str, str] | None = None, save_to: Path | None = None
) -> onnxruntime.InferenceSession:
    """Opens an inference session on the CPU, for use from many threads.

    Args:
        path: the graph.
        threads: the number of threads for a run.
        optimize: whether the runtime may rewrite the graph.
        settings: entries of the session's configuration (onnxruntime_session_options_config_keys.h).
        save_to: where to write the graph in the form that the runtime executes.

    Raises:
        BackendError: the runtime rejects the graph, or would run it on another device.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Memory plans assume one input shape; here shapes vary by batch.
    options.enable_mem_pattern = False
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimize else levels.ORT_DISABLE_ALL
    options.log_severity_level = 3
    if save_to is not None:
        options.optimized_model_filepath = str(save_to)
    # Spinning threads keep a processor busy; let them sleep between runs.
    for key, value in {"session.force_spinning_stop": "1", **(settings or {})}.items():
        options.add_session_config_entry(key, value)
    try:
        session = onnxruntime.InferenceSession(path, options, providers=[_PROVIDER])
    except Exception as error:  # the runtime has an exception class per status code, without a common base
        raise BackendError(
            f"onnxruntime {onnxruntime.__version__} does not accept the graph {path}: {error}"
        ) from error
    if session.get_providers()[0] != _PROVIDER:
        raise BackendError(f"onnxruntime runs on {session.get_providers()[0]} where {_PROVIDER} was asked for")
    return session
