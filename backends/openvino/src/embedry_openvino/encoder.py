"""Runs a graph: on all threads for single batches, on one thread each for concurrent batches."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

import embedry_graphs as graphs
from embedry.backend import Encoder, LoadRequest, PairEncoder
from embedry_graphs.budget import BATCH_TOKENS, batch_tokens
from embedry_openvino.graph import Form, Graph
from embedry_openvino.runtime import openvino
from embedry_openvino.targets import Target

Ints: TypeAlias = NDArray[np.int32]
Floats: TypeAlias = NDArray[np.float32]

_INPUTS = ("input_ids", "attention_mask", graphs.SEGMENTS)

_PRECISIONS = {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}
"""OpenVINO's number formats by our names."""

_BATCH_TOKENS = {"bf16": 1024}
"""Padded tokens a batch, where it is not as many as usual: half as large in memory, and 3 % faster (docs/performance.md)."""

_SHORT = (16, 32)
"""Tokens that a query is padded to. For batches of any shape OpenVINO looks at the shapes of all operators again: 0.5 ms where
they are the same as before, and 1.2 ms where they are not, of a query that takes 1.4 ms in a fixed shape."""

_NARROW = 384
"""Channels of a token vector up to which queries have forms of their own. Each has the weights in memory again, and a query of
a wider model takes so long that it would gain less."""


class OpenVinoEncoder(Encoder, PairEncoder):
    """See `embedry.backend.Encoder`, and for rerankers `embedry.backend.PairEncoder`.

    A single batch, such as a query, uses all threads. Each of several concurrent batches runs on its calling thread, which avoids
    synchronization after every product. A device computes two batches at a time.
    """

    def __init__(self, folder: Path, target: Target, request: LoadRequest) -> None:
        threads = request.threads
        self.batch_tokens = batch_tokens(request.spec, _BATCH_TOKENS.get(target.precision, BATCH_TOKENS))
        self.workers = threads if target.is_cpu else 2
        self._is_cpu = target.is_cpu
        width = (request.config and request.config.hidden_size) or 0
        self._short = _SHORT if target.is_cpu and width <= _NARROW else ()
        self._graph = Graph(folder, target, threads)
        self._lock = Lock()
        self._forms: dict[Form, _Runs] = {}
        first = self._runs(Form(1, min(self._short, default=None)) if target.is_cpu else Form(self.workers))
        self.info: Mapping[str, str] = {
            "engine": f"openvino {openvino.__version__.partition('-')[0]}",
            "device": target.device,
            "precision": "int8" if target.precision == "int8" else first.precision,
            "workers": f"{threads} of 1 thread, or 1 of {threads}" if target.is_cpu else str(self.workers),
            "memory": f"{sum(file.stat().st_size for file in folder.iterdir()) / 1e6:,.0f} MB of weights",
            "graph": str(folder),
        }

    def forward(self, ids: Ints, mask: Ints, *segments: Ints) -> Floats:
        """The result of the chain's body, float32; on a CPU computed on the calling thread."""
        return self._runs(Form(self.workers))((ids, mask, *segments))

    def forward_wide(self, ids: Ints, mask: Ints, *segments: Ints) -> Floats:
        """The same, computed on all threads."""
        if not self._is_cpu:
            return self.forward(ids, mask, *segments)
        count, longest = ids.shape
        length = next((each for each in self._short if longest <= each), None) if count == 1 else None
        return self._runs(Form(1, length))((ids, mask, *segments), length)

    def _runs(self, form: Form) -> "_Runs":
        if form not in self._forms:  # a process with only single queries does not need another
            with self._lock:
                if form not in self._forms:
                    self._forms[form] = _Runs(self._graph.compiled(form))
        return self._forms[form]


class _Runs:
    """A compiled graph for concurrent runs: each run has a request with its own tensor memory."""

    def __init__(self, model: "openvino.CompiledModel") -> None:
        self._model = model
        # An input may have additional names, from casts that OpenVINO removed.
        self._inputs = [next(name for name in _INPUTS if name in each.names) for each in model.inputs]
        self._idle = [model.create_infer_request()]  # a list that threads change without a lock
        self.precision = _PRECISIONS[model.get_property("INFERENCE_PRECISION_HINT").get_type_name()]

    def __call__(self, arrays: Sequence[Ints], length: int | None = None) -> Floats:
        """The result of a batch, float32; with `length`, a single text is padded to it."""
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._model.create_infer_request()
        # The arrays are not copied, and the request does not keep them.
        given = {name: _padded(array, length) for name, array in zip(_INPUTS, arrays, strict=False)}
        for name in self._inputs:
            request.set_tensor(name, openvino.Tensor(given[name], shared_memory=True))
        request.infer()
        found: Floats = request.get_output_tensor(0).data
        if found.ndim == 3:  # token vectors, including padding
            found = found[:, : arrays[0].shape[1]]
        result = found.copy()
        self._idle.append(request)
        return result


def _padded(array: Ints, length: int | None) -> Ints:
    if length is None:
        return np.ascontiguousarray(array)
    wider = np.zeros((1, length), dtype=np.int32)
    wider[:, : array.shape[1]] = array
    return wider
