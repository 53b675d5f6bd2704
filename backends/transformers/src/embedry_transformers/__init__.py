"""A backend over the transformers library: any encoder or decoder that `AutoModel` knows, on CPU, CUDA and MPS.

Importing this module is cheap; torch and transformers are imported by `load`.
"""

import embedry_torch
from embedry import ModelSpec
from embedry.backend import Backend, Encoder, LoadRequest
from embedry.chains import leaves_out_prompt
from embedry.modules import Dense, LayerNorm, Normalize, Pooling


class TransformersBackend(Backend):
    """See `embedry.backend.Backend`. The device "auto" is CUDA where torch finds it, else MPS, else the CPU."""

    devices = ("auto", "cpu", "cuda", "mps")
    precisions = ("fp32", "bf16", "fp16")
    modules = (Pooling, Dense, LayerNorm, Normalize)

    def refusal(self, spec: ModelSpec) -> str | None:
        """Why the model cannot be reproduced here, or None."""
        if spec.transformer is None:
            return "it has no transformer"
        if leaves_out_prompt(spec.body):
            return "its pooling leaves out the prompt, which token ids do not tell"
        return embedry_torch.refusal(spec)

    def load(self, request: LoadRequest) -> Encoder:
        """The model on the device, in the precision asked for or the one that suits the device."""
        from embedry_torch.configs import files
        from embedry_torch.loading import device
        from embedry_transformers import loading
        from embedry_transformers.chain import Body
        from embedry_transformers.encoder import TorchEncoder

        torch_device = device(request.device)
        dtype = loading.dtype(request.precision, torch_device, request.spec.architecture)
        with files(request) as folder:
            model = loading.model(request, folder, torch_device, dtype)
            body = Body(request.spec, folder, torch_device)
        return TorchEncoder(model, body, threads=request.threads)


backend = TransformersBackend()
