"""Shared code of the torch backends: configures and strictly loads model classes.

Importing this package is cheap; its modules import torch and transformers.
"""

from embedry import ModelSpec
from embedry.heads import Classifier, LogitScore, MaskedLM, SpladePooling, TermWeights
from embedry.modules import Pooling

_ONLY_IN_CODE_OF_MODELS = ("jina_bert_v2", "jina_bert_v2_qk_post_norm")
"""Architectures that the transformers library takes for another one's, whose class it would load: they have only ever been
implemented in code that comes with models."""

_ALONE = ((Classifier,), (LogitScore,), (MaskedLM, SpladePooling), (TermWeights,))
"""Modules that are the whole body of a chain, because they take what only the transformer gives."""


def refusal(spec: ModelSpec) -> str | None:
    """Why the transformers library does not support this model, or None. Only uses the entry."""
    if spec.architecture in _ONLY_IN_CODE_OF_MODELS:
        return f"the transformers library has no class for {spec.architecture!r}"
    kinds = tuple(map(type, spec.body))
    for alone in _ALONE:
        if kinds != alone and not set(alone).isdisjoint(kinds):
            return f"its chain has a {alone[0].__name__} beside other modules, {', '.join(kind.__name__ for kind in kinds)}"
    if spec.kind == "multi_vector" and Pooling in kinds:
        return "its chain has a Pooling, behind which no tokens have vectors"
    return None
