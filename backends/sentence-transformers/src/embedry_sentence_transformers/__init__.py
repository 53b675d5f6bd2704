"""A backend over the sentence-transformers library: any model in its layout, with all of its modules.

Slower than the others, and able to do what they refuse: modules that only the library has, and models with an input
handling of their own. Importing this module is cheap; torch and sentence-transformers are imported by `load`.
"""

import embedry_torch
from embedry import ModelSpec
from embedry.backend import Backend, Encoder, LoadRequest, TextEncoder
from embedry.modules import Dense, LayerNorm, LibraryModule, Normalize, Pooling


class SentenceTransformersBackend(Backend):
    """See `embedry.backend.Backend`. The device "auto" is CUDA where torch finds it, else MPS, else the CPU."""

    devices = ("auto", "cpu", "cuda", "mps")
    precisions = ("fp32", "bf16", "fp16")
    modules = (Pooling, Dense, LayerNorm, Normalize, LibraryModule)

    def refusal(self, spec: ModelSpec) -> str | None:
        """Why the model cannot be reproduced here, or None."""
        return embedry_torch.refusal(spec)

    def load(self, request: LoadRequest) -> Encoder | TextEncoder:
        """The model; one with an input handling of its own keeps it."""
        from embedry_sentence_transformers import loading
        from embedry_sentence_transformers.encoder import ModuleEncoder, OwnInputEncoder
        from embedry_torch.configs import files

        spec = request.spec
        with files(request) as folder:
            model = loading.model(request, folder)
        if loading.takes_ids(spec):
            return ModuleEncoder(model, threads=request.threads, unpadded=loading.ignores_mask(spec))
        return OwnInputEncoder(model)


backend = SentenceTransformersBackend()
