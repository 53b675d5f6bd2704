"""Tiny checkpoints of the true architectures with random weights, saved by the libraries that define them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    Gemma3TextConfig,
    Gemma3TextModel,
    GteConfig,
    GteModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    NomicBertConfig,
    NomicBertModel,
    PreTrainedModel,
    Qwen3Config,
    Qwen3Model,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)
from transformers.utils import logging

import references

logging.set_verbosity_error()
logging.disable_progress_bar()

WIDTH = 48

_SHAPE: dict[str, Any] = {
    "hidden_size": WIDTH,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 96,
}
_VOCABULARY = 30522
_AFTER_PADDING: dict[str, Any] = {"max_position_embeddings": 514, "pad_token_id": 1}

FAMILIES = ("bert", "distilbert", "mpnet", "roberta", "xlm-roberta")

_GROUPED: dict[str, Any] = {"num_key_value_heads": 2, "head_dim": 16}
_LONG: dict[str, Any] = {"max_position_embeddings": 8192, "pad_token_id": 0}

LONG_FAMILIES = ("modernbert", "nomic_bert", "gte", "qwen3", "gemma3_text", "embeddinggemma", "t5", "t5-gated")
"""Architectures that read thousands of tokens, some of them in two forms; `references.FAMILIES` has more."""


def model(family: str) -> PreTrainedModel:
    """A model of this family whose every parameter matters: transformers starts biases at zero and norms at one."""
    torch.manual_seed(0)
    made: PreTrainedModel = {
        "bert": lambda: BertModel(BertConfig(vocab_size=_VOCABULARY, **_SHAPE)),
        "distilbert": lambda: DistilBertModel(
            DistilBertConfig(vocab_size=_VOCABULARY, dim=WIDTH, n_layers=3, n_heads=4, hidden_dim=96)
        ),
        "mpnet": lambda: MPNetModel(MPNetConfig(vocab_size=_VOCABULARY, **_SHAPE, **_AFTER_PADDING)),
        "roberta": lambda: RobertaModel(
            RobertaConfig(vocab_size=_VOCABULARY, type_vocab_size=1, **_SHAPE, **_AFTER_PADDING)
        ),
        "xlm-roberta": lambda: XLMRobertaModel(
            XLMRobertaConfig(vocab_size=_VOCABULARY, type_vocab_size=1, **_SHAPE, **_AFTER_PADDING)
        ),
        "modernbert": lambda: ModernBertModel(
            ModernBertConfig(vocab_size=_VOCABULARY, **_SHAPE | _LONG, local_attention=16, num_labels=2)
        ),
        "nomic_bert": lambda: NomicBertModel(NomicBertConfig(vocab_size=_VOCABULARY, **_SHAPE | _LONG)),
        "gte": lambda: GteModel(GteConfig(vocab_size=_VOCABULARY, **_SHAPE | _LONG)),
        "qwen3": lambda: Qwen3Model(Qwen3Config(vocab_size=_VOCABULARY, **_SHAPE | _GROUPED | _LONG)),
        "gemma3_text": lambda: Gemma3TextModel(
            Gemma3TextConfig(
                vocab_size=_VOCABULARY, sliding_window=20, sliding_window_pattern=2, **_SHAPE | _GROUPED | _LONG
            )
        ),
        "embeddinggemma": lambda: Gemma3TextModel(
            Gemma3TextConfig(
                vocab_size=_VOCABULARY,
                sliding_window=20,
                sliding_window_pattern=2,
                use_bidirectional_attention=True,
                **_SHAPE | _GROUPED | _LONG,
            )
        ),
        "t5": lambda: T5EncoderModel(_t5("relu")),
        "t5-gated": lambda: T5EncoderModel(_t5("gated-gelu")),
    }[family]()
    for parameter in made.parameters():
        parameter.data.add_(torch.randn_like(parameter) * (0.1 if parameter.dim() == 1 else 0.05))
    return made


def _t5(feed_forward: str) -> T5Config:
    return T5Config(
        vocab_size=_VOCABULARY,
        d_model=WIDTH,
        num_layers=2,
        num_heads=3,
        d_kv=12,
        d_ff=96,
        feed_forward_proj=feed_forward,
    )


def save(
    folder: Path,
    family: str,
    pooling: str,
    *,
    tokenizer: Path,
    prompts: Mapping[str, str] | None = None,
    normalize: bool = True,
    dense: int | None = None,
    projections: Sequence[int] = (),
    max_seq_length: int = 128,
) -> None:
    """Saves a random model of a family, with the tokenizer of another, as sentence-transformers lays it out.

    Behind the pooling comes one Dense module with bias and tanh to the width `dense`, or one with neither to each width in
    `projections`.
    """
    of_hub = family in references.FAMILIES
    encoder = model("bert" if of_hub else family)
    with TemporaryDirectory() as raw:
        encoder.save_pretrained(raw)
        AutoTokenizer.from_pretrained(tokenizer).save_pretrained(raw)
        modules = [Transformer(raw, max_seq_length=max_seq_length), Pooling(WIDTH, pooling_mode=pooling)]
    if dense is not None:
        modules.append(Dense(WIDTH, dense))
    for inputs, outputs in zip((WIDTH, *projections), projections, strict=False):
        modules.append(Dense(inputs, outputs, bias=False, activation_function=torch.nn.Identity()))
    if normalize:
        modules.append(Normalize())
    SentenceTransformer(modules=modules, prompts=dict(prompts or {}), device="cpu").save(str(folder))
    if of_hub:  # whose code the library would have to run
        # Three heads: slopes of ALiBi follow another rule where their number is no power of two.
        settings = references.config(family, vocab_size=_VOCABULARY, **_SHAPE | {"num_attention_heads": 3})
        references.save(folder, family, settings)
