"""The sentence-transformers backend: runs any model in the library's layout, with all modules.

It is slower than other backends, but supports modules that only the library has, and models with custom input
handling. Importing this module is cheap; `load` imports torch and sentence-transformers.
"""

from typing import Any

import embedry_torch
from embedry import ModelSpec
from embedry.backend import Backend, Encoder, LoadRequest, PairEncoder, TextEncoder
from embedry.chains import leaves_out_prompt
from embedry.heads import Classifier, LogitScore, MaskedLM, SpladePooling
from embedry.modules import Dense, LayerNorm, LibraryModule, Normalize, Pooling


class SentenceTransformersBackend(Backend):
    """See `embedry.backend.Backend`. The device "auto" is CUDA if torch finds it, else MPS, else the CPU."""

    devices = ("auto", "cpu", "cuda", "mps")
    precisions = ("fp32", "bf16", "fp16")
    modules = (Pooling, Dense, LayerNorm, Normalize, LibraryModule, Classifier, LogitScore, MaskedLM, SpladePooling)
    outputs = ("dense", "reranker", "sparse", "multi_vector")

    def refusal(self, spec: ModelSpec) -> str | None:
        """Why this backend does not support the model, or None."""
        if spec.kind != "dense" and leaves_out_prompt(spec.body):
            return "its pooling leaves out the prompt, which the tokens of a pair do not tell"
        if spec.kind == "multi_vector" and any(isinstance(module, LayerNorm) for module in spec.body):
            return "the sentence-transformers library has no LayerNorm for the vectors of tokens"
        return embedry_torch.refusal(spec)

    def load(self, request: LoadRequest) -> Encoder | PairEncoder | TextEncoder:
        """Loads the model; custom input handling is kept."""
        from embedry_sentence_transformers import loading
        from embedry_sentence_transformers.encoder import ModuleEncoder, OwnInputEncoder
        from embedry_torch.configs import files
        from embedry_torch.loading import reads_last_position

        spec = request.spec
        with files(request) as folder:
            model = loading.model(request, folder)
        if loading.takes_ids(spec):
            transformer: Any = model[0]
            return ModuleEncoder(
                model,
                loading.results_name(spec),
                threads=request.threads,
                unpadded=loading.ignores_mask(spec),
                one_by_one=reads_last_position(transformer.model, spec),
            )
        return OwnInputEncoder(model)


backend = SentenceTransformersBackend()
