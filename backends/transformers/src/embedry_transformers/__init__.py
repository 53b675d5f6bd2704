"""A backend over the transformers library: any encoder or decoder that `AutoModel` knows, on CPU, CUDA and MPS.

Importing this module is cheap; torch and transformers are imported by `load`.
"""

from pathlib import Path

from embedry import Encoder, ModelSpec

POOLINGS = ("mean", "cls", "last")

_OTHER = 'the sentence-transformers backend can: pip install embedry-sentence-transformers, then backend="sentence-transformers"'


class TransformersBackend:
    """See `embedry.Backend`. The device "auto" is CUDA where torch finds it, else MPS, else the CPU."""

    devices = ("auto", "cpu", "cuda", "mps")
    precisions = ("fp32", "bf16", "fp16")

    def refusal(self, spec: ModelSpec) -> str | None:
        """Why the model cannot be reproduced here, or None."""
        if spec.modules:
            return f"it does not do the modules {', '.join(spec.modules)}; {_OTHER}"
        if spec.pooling not in POOLINGS:
            return f"it does not do {spec.pooling!r} pooling; {_OTHER}"
        return None

    def load(
        self, spec: ModelSpec, folder: Path, *, device: str, precision: str | None, threads: int, cache_dir: Path
    ) -> Encoder:
        """The model on the device, in the precision asked for or the one that suits the device."""
        from embedry_transformers import loading
        from embedry_transformers.encoder import TorchEncoder

        place = loading.device(device)
        dtype = loading.dtype(precision, place)
        return TorchEncoder(loading.model(spec, folder, place, dtype), spec.pooling, threads=threads)


backend = TransformersBackend()
