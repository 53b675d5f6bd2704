"""What backends over torch share: how a model's class is configured, and how it is loaded, with every tensor accounted for.

Importing this package is cheap; its modules import torch and transformers.
"""

from embedry import ModelSpec

_ONLY_IN_CODE_OF_MODELS = ("jina_bert_v2", "jina_bert_v2_qk_post_norm")
"""Architectures that the transformers library takes for another one's, whose class it would load: they have only ever been
implemented in code that comes with models."""


def refusal(spec: ModelSpec) -> str | None:
    """Why no class of the transformers library computes this model, or None. Decided from the entry alone."""
    if spec.architecture in _ONLY_IN_CODE_OF_MODELS:
        return f"the transformers library has no class for {spec.architecture!r}"
    return None
