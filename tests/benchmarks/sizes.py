"""Checkpoints of the sizes of real models, with random weights, in the layout of sentence-transformers."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from contenders import CACHE, COMPLETE

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Model:
    """A model whose sizes are taken."""

    make: "Callable[[], PreTrainedModel]"
    reads: int
    """Tokens."""
    dense: tuple[int, ...] = ()
    """Widths of the Dense modules behind the pooling."""


def folder(name: str) -> Path:
    """The files of a model, made when they are needed first."""
    target = CACHE / "benchmarks" / "sizes" / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as made:
            _save(MODELS[name], Path(made))
            (Path(made) / "model").rename(target)
    return target


def _save(model: Model, into: Path) -> None:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    torch.manual_seed(0)
    encoder = model.make()
    for parameter in encoder.parameters():
        if parameter.dim() == 1:  # norms start as zeros or ones, which no trained model has
            parameter.data.add_(torch.randn_like(parameter) * 0.02)
    encoder.save_pretrained(into / "raw")
    for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(COMPLETE / file, into / "raw")
    width = encoder.config.hidden_size
    modules = [Transformer(str(into / "raw"), max_seq_length=model.reads), Pooling(width, pooling_mode="mean")]
    for outputs in model.dense:
        modules.append(Dense(width, outputs, bias=False, activation_function=torch.nn.Identity()))
        width = outputs
    SentenceTransformer(modules=[*modules, Normalize()], device="cpu").save(str(into / "model"))


def _modernbert() -> "PreTrainedModel":
    from transformers import ModernBertConfig, ModernBertModel

    return ModernBertModel(ModernBertConfig(pad_token_id=0))  # the defaults are those of ModernBERT-base


def _embeddinggemma() -> "PreTrainedModel":
    from transformers import Gemma3TextConfig, Gemma3TextModel

    config = Gemma3TextConfig(
        vocab_size=262_144, hidden_size=768, intermediate_size=1152, num_hidden_layers=24, num_attention_heads=3,
        num_key_value_heads=1, head_dim=256, max_position_embeddings=2048, sliding_window=512,
        use_bidirectional_attention=True,
    )  # fmt: skip
    return Gemma3TextModel(config)


def _e5() -> "PreTrainedModel":
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=250_037, hidden_size=384, intermediate_size=1536, num_hidden_layers=12, num_attention_heads=12
    )
    return BertModel(config)


MODELS = {
    "ModernBERT-base": Model(_modernbert, 8192),
    "EmbeddingGemma-300m": Model(_embeddinggemma, 2048, (3072, 768)),
    "multilingual-e5-small": Model(_e5, 512),
}
