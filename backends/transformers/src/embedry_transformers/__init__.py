"""The transformers backend: runs any encoder or decoder that `AutoModel` supports, on CPU, CUDA and MPS.

Importing this module is cheap; `load` imports torch and transformers.
"""

import embedry_torch
from embedry import ModelSpec
from embedry.backend import Backend, Encoder, LoadRequest, PairEncoder
from embedry.chains import leaves_out_prompt
from embedry.heads import Classifier, LogitScore, MaskedLM, SpladePooling, TermWeights
from embedry.modules import Dense, LayerNorm, Normalize, Pooling


class TransformersBackend(Backend):
    """See `embedry.backend.Backend`. The device "auto" is CUDA if torch finds it, else MPS, else the CPU."""

    devices = ("auto", "cpu", "cuda", "mps")
    precisions = ("fp32", "bf16", "fp16")
    modules = (Pooling, Dense, LayerNorm, Normalize, Classifier, LogitScore, MaskedLM, SpladePooling, TermWeights)
    outputs = ("dense", "reranker", "sparse", "multi_vector")

    def refusal(self, spec: ModelSpec) -> str | None:
        """Why this backend does not support the model, or None."""
        if spec.transformer is None:
            return "it has no transformer"
        if leaves_out_prompt(spec.body):
            return "its pooling leaves out the prompt, which token ids do not tell"
        return embedry_torch.refusal(spec)

    def load(self, request: LoadRequest) -> Encoder | PairEncoder:
        """Loads the model on the device, in the requested precision or the default of the device."""
        from embedry_torch.configs import files
        from embedry_torch.loading import device, reads_last_position
        from embedry_transformers import loading
        from embedry_transformers.encoder import TorchEncoder
        from embedry_transformers.heads import head

        torch_device = device(request.device)
        dtype = loading.dtype(request.precision, torch_device, request.spec.architecture)
        with files(request) as folder:
            model = loading.model(request, folder, torch_device, dtype)
            behind = head(request.spec, folder, model)
        alone = reads_last_position(model, request.spec)
        return TorchEncoder(model, behind, threads=request.threads, kind=request.spec.kind, one_by_one=alone)


backend = TransformersBackend()
