"""Tiny checkpoints of the true architectures with random weights, saved by the libraries that define them."""

from collections.abc import Mapping
from pathlib import Path
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
    MPNetConfig,
    MPNetModel,
    PreTrainedModel,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)
from transformers.utils import logging

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
    }[family]()
    for parameter in made.parameters():
        parameter.data.add_(torch.randn_like(parameter) * (0.1 if parameter.dim() == 1 else 0.05))
    return made


def save(
    folder: Path,
    family: str,
    pooling: str,
    *,
    tokenizer: Path,
    prompts: Mapping[str, str] | None = None,
    normalize: bool = True,
    dense: int | None = None,
    max_seq_length: int = 128,
) -> None:
    """Saves a random model of a family, with the tokenizer of another, as sentence-transformers lays it out."""
    raw = folder.with_name("raw")
    encoder = model(family)
    encoder.save_pretrained(raw)
    AutoTokenizer.from_pretrained(tokenizer).save_pretrained(raw)
    modules = [Transformer(str(raw), max_seq_length=max_seq_length), Pooling(WIDTH, pooling_mode=pooling)]
    if dense is not None:
        modules.append(Dense(WIDTH, dense))
    if normalize:
        modules.append(Normalize())
    SentenceTransformer(modules=modules, prompts=dict(prompts or {}), device="cpu").save(str(folder))
