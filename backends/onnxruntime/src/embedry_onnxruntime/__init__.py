"""The default backend: ONNX Runtime on the CPU, with no torch anywhere.

For the encoder families it knows it writes the graph itself, in the runtime's own fused operators, straight from the
safetensors weights. For others it runs the ONNX file that the registry entry names. Importing this module is cheap;
onnx and onnxruntime are imported by `load`.
"""

import os
from pathlib import Path

from embedry import Encoder, ModelSpec, UnsupportedModelError

FAMILIES = ("bert", "mpnet", "distilbert", "roberta", "xlm-roberta")
"""Values of `model_type` for which the graph is written; each is a module of `families`, or shares one."""

POOLINGS = ("mean", "cls")

_OTHER = 'the sentence-transformers backend can: pip install embedry-sentence-transformers, then backend="sentence-transformers"'


class OnnxRuntimeBackend:
    """See `embedry.Backend`."""

    devices = ("cpu",)
    precisions = ("fp32", "int8")

    def refusal(self, spec: ModelSpec) -> str | None:
        """Why the model cannot be reproduced here, or None."""
        if spec.modules:
            return f"it does not do the modules {', '.join(spec.modules)}; {_OTHER}"
        if spec.pooling not in POOLINGS:
            return f"it does not do {spec.pooling!r} pooling; {_OTHER}"
        if spec.architecture not in FAMILIES and spec.onnx is None:
            return f"it writes graphs for {', '.join(FAMILIES)}, not {spec.architecture!r}, and the entry names no ONNX file; {_OTHER}"
        return None

    def load(
        self, spec: ModelSpec, folder: Path, *, device: str, precision: str | None, threads: int, cache_dir: Path
    ) -> Encoder:
        """An inference session over the compiled graph, or over the entry's own ONNX file."""
        # Some builds of the runtime report their use to their makers, unless told not to before they are imported.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        from embedry_onnxruntime import compiled, prebuilt, session

        precision = precision or "fp32"
        if spec.onnx is None:
            # Our graph is in its final form; leaving it as it is also saves a third of the start.
            path = compiled.folder(spec, folder, cache_dir, precision) / compiled.GRAPH_FILE
            return session.OnnxEncoder(path, threads=threads, precision=precision, optimize=False)
        if precision == "int8":
            raise UnsupportedModelError(
                f"{spec.name!r} runs from an ONNX file of its own, which int8 cannot be made of"
            )
        return prebuilt.load(folder / spec.onnx, spec, threads)


backend = OnnxRuntimeBackend()
