"""Tensor names of the heads of each family: classification and masked language models.

They follow the classes of transformers 5 that end in ForSequenceClassification and ForMaskedLM, and the code of Alibaba's "new"
architecture.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from embedry.heads import Classifier, MaskedLM
from embedry.modules import Module


@dataclass(frozen=True, kw_only=True)
class Head:
    """The names of a head's parts in a family's checkpoints."""

    dense: str
    out: str
    activation: str = ""
    """Between the two products, as config.json names it; empty for that of the layers."""
    norm: str = ""
    """Empty for none."""
    words: str = ""
    """The table of words, which is the weight of `out` as well where that is tied to it; empty where it cannot be."""
    bias: str = ""
    """Another name for the bias of `out`."""
    has_dense_bias: bool = True
    has_norm_bias: bool = True
    has_out_bias: bool = True

    @property
    def prefixes(self) -> tuple[str, ...]:
        """How the names of its tensors begin."""
        return tuple(f"{name.rpartition('.')[0] or name}." for name in (self.dense, self.out))


_BERT_CLASSIFIER = Head(dense="pooler.dense", out="classifier", activation="tanh")

_ROBERTA_CLASSIFIER = Head(dense="classifier.dense", out="classifier.out_proj", activation="tanh")

_WORDS = "embeddings.word_embeddings"

_ROBERTA_LM = Head(
    dense="lm_head.dense",
    out="lm_head.decoder",
    activation="gelu",
    norm="lm_head.layer_norm",
    words=_WORDS,
    bias="lm_head.bias",
)

_CLASSIFIERS = {
    "bert": _BERT_CLASSIFIER,
    "distilbert": Head(dense="pre_classifier", out="classifier", activation="relu"),
    "modernbert": Head(dense="head.dense", out="classifier", norm="head.norm"),
    "mpnet": _ROBERTA_CLASSIFIER,
    "new": _BERT_CLASSIFIER,
    "roberta": _ROBERTA_CLASSIFIER,
    "xlm-roberta": _ROBERTA_CLASSIFIER,
}

_MASKED_LMS = {
    "bert": Head(
        dense="cls.predictions.transform.dense",
        out="cls.predictions.decoder",
        norm="cls.predictions.transform.LayerNorm",
        words=_WORDS,
        bias="cls.predictions.bias",
    ),
    "distilbert": Head(dense="vocab_transform", out="vocab_projector", norm="vocab_layer_norm", words=_WORDS),
    "modernbert": Head(dense="head.dense", out="decoder", norm="head.norm", words="embeddings.tok_embeddings"),
    "mpnet": _ROBERTA_LM,
    "new": Head(dense="lm_head.dense", out="lm_head.decoder", norm="lm_head.norm", words=_WORDS),
    "roberta": _ROBERTA_LM,
    "xlm-roberta": _ROBERTA_LM,
}

_POOLED_BY_MEAN = ("modernbert",)
"""Families whose classifier may take the mean of all token vectors, and not the first one's."""


def fault(module: Module, architecture: str) -> str | None:
    """Why a graph does not support this module after this family's encoder, or None; only checks modules with a head."""
    if isinstance(module, Classifier):
        if architecture not in _CLASSIFIERS:
            return f"heads of classification are written for {', '.join(_CLASSIFIERS)}, not for {architecture!r}"
        if module.pooling != "cls" and architecture not in _POOLED_BY_MEAN:
            return f"the head of classification of {architecture!r} takes the first token's vector, not the {module.pooling}"
    if isinstance(module, MaskedLM) and architecture not in _MASKED_LMS:
        return f"masked language models are written for {', '.join(_MASKED_LMS)}, not for {architecture!r}"
    return None


def of(module: Classifier | MaskedLM, architecture: str, settings: Mapping[str, Any]) -> Head:
    """The head that a module without a `fault` stands for; `settings` are what config.json says."""
    head = _CLASSIFIERS[architecture] if isinstance(module, Classifier) else _MASKED_LMS[architecture]
    if not settings.get("tie_word_embeddings", True):
        head = replace(head, words="")
    return _of_modernbert(head, settings) if architecture == "modernbert" else head


def _of_modernbert(head: Head, settings: Mapping[str, Any]) -> Head:
    """What its config.json says of a head; the defaults are those of its configuration class."""
    return replace(
        head,
        activation=settings.get("classifier_activation", "gelu"),
        has_dense_bias=settings.get("classifier_bias", False),
        has_norm_bias=settings.get("norm_bias", False),
        has_out_bias=head.out == "classifier" or settings.get("decoder_bias", True),
    )
