"""The default backend: ONNX Runtime on the CPU, without torch.

It runs the graphs of embedry-graphs; for other architectures, the ONNX file of the registry entry. Importing this module is
cheap; `load` imports onnx and onnxruntime.
"""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import embedry_graphs as graphs
from embedry import ModelSpec
from embedry.backend import Backend, Encoder, LoadRequest, PairEncoder
from embedry.modules import Pooling

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class OnnxRuntimeBackend(Backend):
    """See `embedry.backend.Backend`."""

    devices = ("cpu",)
    precisions = ("fp32", "int8")
    modules = graphs.MODULES
    outputs = graphs.OUTPUTS

    def refusal(self, spec: ModelSpec) -> str | None:
        """Why this backend does not support the model, or None."""
        if spec.onnx is None:
            return graphs.refusal(spec)
        plain = spec.kind == "dense" and spec.body in ((Pooling(mode="mean"),), (Pooling(mode="cls"),))
        return None if plain else "from an ONNX file it runs mean or cls pooling and nothing else"

    def int8_refusal(self, spec: ModelSpec) -> str | None:
        """Why the model does not support int8, or None."""
        if spec.onnx is None:
            return graphs.int8_refusal(spec)
        return "it runs from an ONNX file of its own, which int8 cannot be made of"

    def calibrate(self, request: LoadRequest, texts: "Iterable[NDArray[np.int32]]") -> bytes:
        """See `embedry._backends.Calibrator`."""
        from embedry_onnxruntime import calibration

        return calibration.calibrate(request, texts)

    def load(self, request: LoadRequest) -> Encoder | PairEncoder:
        """Opens an inference session for the compiled graph, or for the ONNX file of the entry."""
        # Some builds of the runtime send telemetry unless disabled before import.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        from embedry_graphs.budget import batch_tokens
        from embedry_onnxruntime import compiled, prebuilt, session

        spec, precision = request.spec, request.precision or "fp32"
        if spec.onnx is None:
            # The graph is already optimized; skipping optimization also saves a third of the startup time.
            path = compiled.folder(request, precision) / graphs.GRAPH_FILE
            return session.OnnxEncoder(
                path,
                threads=request.threads,
                precision=precision,
                optimize=False,
                batch_tokens=batch_tokens(spec),
            )
        return prebuilt.load(request.folder / spec.onnx, spec, request.threads)


backend = OnnxRuntimeBackend()
