"""Running a compiled graph: on all threads for a batch that comes alone, on one each for batches that come many at a time."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

import embedry_graphs as graphs
from embedry.backend import Encoder, LoadRequest, PairEncoder
from embedry_graphs.budget import batch_tokens
from embedry_openvino.graph import compiled
from embedry_openvino.library import openvino
from embedry_openvino.targets import Target

_PRECISIONS = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}
"""OpenVINO's number formats by our names."""

_INPUTS = ("input_ids", "attention_mask", graphs.SEGMENTS)


class OpenVinoEncoder(Encoder, PairEncoder):
    """See `embedry.backend.Encoder`, and for rerankers `embedry.backend.PairEncoder`.

    A batch that comes alone, such as a query, is computed on all threads. Of several at a time each is computed by the thread
    that brings it: then no thread waits for another at the end of every product. A device has streams of its own for both.
    """

    def __init__(self, folder: Path, target: Target, request: LoadRequest) -> None:
        threads = request.threads
        self.batch_tokens = batch_tokens(request.spec)
        self.workers = threads if target.is_cpu else 2
        self._compile = partial(compiled, folder, target, threads=threads)
        self._wide = Runs(self._compile(streams=1 if target.is_cpu else self.workers))
        self._narrow = self._wide if self.workers == 1 or not target.is_cpu else None
        self._lock = Lock()
        files = [file.stat().st_size for file in folder.iterdir()]
        self.info: Mapping[str, str] = {
            "engine": f"openvino {openvino.__version__.partition('-')[0]}",
            "device": target.device,
            "precision": self._wide.precision if target.precision != "int8" else "int8",
            "workers": f"{threads} of 1 thread, or 1 of {threads}" if target.is_cpu else str(self.workers),
            "memory": f"{sum(files) / 1e6:,.0f} MB of weights",
            "graph": str(folder),
        }

    def forward(
        self, ids: NDArray[np.int32], mask: NDArray[np.int32], *segments: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """What the body of the chain gives, float32, computed by the calling thread."""
        if self._narrow is None:  # a process that only asks single queries never needs it
            with self._lock:
                if self._narrow is None:
                    self._narrow = Runs(self._compile(streams=self.workers))
        return self._narrow(ids, mask, *segments)

    def forward_wide(
        self, ids: NDArray[np.int32], mask: NDArray[np.int32], *segments: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """The same on all threads."""
        return self._wide(ids, mask, *segments)


class Runs:
    """A compiled graph, run by several threads at a time: each run has a request, which keeps memory for its tensors."""

    def __init__(self, model: "openvino.CompiledModel") -> None:
        self._model = model
        self.precision = _PRECISIONS[model.get_property("INFERENCE_PRECISION_HINT").get_type_name()]
        # An input may have other names besides, those of casts that OpenVINO left out.
        self._inputs = [next(name for name in _INPUTS if name in each.names) for each in model.inputs]
        self._idle = [model.create_infer_request()]  # a list that threads change without a lock

    def __call__(
        self, ids: NDArray[np.int32], mask: NDArray[np.int32], *segments: NDArray[np.int32]
    ) -> NDArray[np.float32]:
        """The result of one batch, float32."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._model.create_infer_request()
        given = dict(zip(_INPUTS, (ids, mask, *segments), strict=False))
        for name in self._inputs:
            request.set_tensor(name, openvino.Tensor(np.ascontiguousarray(given[name]), shared_memory=True))
        request.infer()
        result: NDArray[np.float32] = request.get_output_tensor(0).data.copy()
        self._idle.append(request)
        return result
