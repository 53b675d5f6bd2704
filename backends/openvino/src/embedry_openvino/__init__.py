"""The OpenVINO backend: runs the graphs of the default backend, also in bfloat16 on processors that support it.

Importing this module is cheap; `load` imports onnx and openvino.
"""

import embedry_graphs as graphs
from embedry import ModelSpec
from embedry.backend import Backend, Encoder, LoadRequest, PairEncoder, cpu_features

_BIASED = ("jina_bert_v2", "jina_bert_v2_qk_post_norm", "mpnet", "t5")
"""Architectures that add a number of its own to each head's score of each pair of tokens."""

_LONGEST_BIASED = 512
"""Tokens of a text up to which these numbers are few: of 8,192 tokens and 12 heads they take 3 GB, for OpenVINO has them all at
once."""


_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}
"""Instruction sets that multiply bfloat16, as Linux lists them on x86-64 and ARM64."""


def has_bf16() -> bool:
    """Whether this processor supports bfloat16; False on systems other than Linux, which do not list processor features."""
    return bool(_BF16 & set(cpu_features()))


class OpenVinoBackend(Backend):
    """See `embedry.backend.Backend`. "gpu" and "npu" are Intel devices that OpenVINO finds; "gpu:1" is the second GPU."""

    devices = ("cpu", "gpu", "npu")
    precisions = ("fp32", "bf16", "fp16", "int8")
    modules = graphs.MODULES
    outputs = graphs.OUTPUTS

    def refusal(self, spec: ModelSpec) -> str | None:
        """Why this backend does not support the model, or None."""
        if spec.architecture in _BIASED and spec.max_seq_length > _LONGEST_BIASED:
            return (
                f"here a {spec.architecture!r} reads at most {_LONGEST_BIASED} tokens, for its attention is biased by distance, "
                f"and this one reads {spec.max_seq_length:,}"
            )
        return graphs.refusal(spec)

    def int8_refusal(self, spec: ModelSpec) -> str | None:
        """Why the model does not support int8, or None."""
        return graphs.int8_refusal(spec)

    def load(self, request: LoadRequest) -> Encoder | PairEncoder:
        """Compiles the model's graph for the device in the requested precision, by default fp32.

        Raises:
            OptionError: OpenVINO does not find the device, or the device does not support the precision.
        """
        from embedry_graphs import artifact
        from embedry_openvino.encoder import OpenVinoEncoder
        from embedry_openvino.targets import found

        target = found(request.device, request.precision or "fp32")
        # One file for all devices: OpenVINO itself converts the weights to bf16 and fp16.
        stored = "int8" if target.precision == "int8" else "fp32"
        return OpenVinoEncoder(artifact.folder(request, "openvino", stored, whole=True), target, request)


backend = OpenVinoBackend()
