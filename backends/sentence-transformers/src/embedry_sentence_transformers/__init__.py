"""A backend over the sentence-transformers library: any model in its layout, with all of its modules.

Slower than the others, and able to do what they refuse: Dense layers, every pooling, models with an input handling of
their own. Importing this module is cheap; torch and sentence-transformers are imported by `load`.
"""

from pathlib import Path

from embedry import Encoder, ModelSpec, TextEncoder


class SentenceTransformersBackend:
    """See `embedry.Backend`. The device "auto" is the one that the library chooses."""

    devices = ("auto", "cpu", "cuda", "mps")
    precisions = ("fp32", "bf16", "fp16")

    def refusal(self, spec: ModelSpec) -> str | None:
        """The library's own layout is the contract: only modules that it does not describe are refused."""
        if spec.modules and "modules.json" not in spec.files:
            return (
                f"it lists the modules {', '.join(spec.modules)}, but not among its files modules.json, which has them"
            )
        return None

    def load(
        self, spec: ModelSpec, folder: Path, *, device: str, precision: str | None, threads: int, cache_dir: Path
    ) -> Encoder | TextEncoder:
        """The model; one with an input handling of its own keeps it."""
        from embedry_sentence_transformers import loading
        from embedry_sentence_transformers.encoder import ModuleEncoder, OwnInputEncoder

        model = loading.model(spec, folder, device, precision or "fp32")
        if loading.takes_ids(model, spec):
            return ModuleEncoder(model, threads=threads)
        return OwnInputEncoder(model)


backend = SentenceTransformersBackend()
