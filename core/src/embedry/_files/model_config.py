"""config.json, parsed once for all engines into one typed record, with the defaults of the class that reads it.

What nobody may run is refused here; which families an engine knows is the engine's to say.
"""

from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from embedry._config import ModelConfig
from embedry._files import parsing
from embedry.errors import UnsupportedModelError

Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Index = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Small = Annotated[float, Meta(ge=0, le=1)]

_DEFAULTS: dict[str, dict[str, Any]] = {
    "bert": {"vocab_size": 30522, "max_position_embeddings": 512, "pad_token_id": 0},
    "distilbert": {"vocab_size": 30522, "max_position_embeddings": 512, "pad_token_id": 0, "num_hidden_layers": 6},
    "mpnet": {"vocab_size": 30527, "max_position_embeddings": 512, "pad_token_id": 1},
    "roberta": {"vocab_size": 50265, "max_position_embeddings": 512, "pad_token_id": 1},
    "xlm-roberta": {"vocab_size": 30522, "max_position_embeddings": 512, "pad_token_id": 1},
}
"""`model_type` -> the defaults of its configuration class in transformers 5, where they differ from each other."""

_SHARED_DEFAULTS = {
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072, "hidden_act": "gelu",
    "layer_norm_eps": 1e-12, "type_vocab_size": 2, "relative_attention_num_buckets": 32,
}  # fmt: skip
"""Those that they share."""

_DISTILBERT = {"dim": "hidden_size", "n_layers": "num_hidden_layers", "n_heads": "num_attention_heads",
               "hidden_dim": "intermediate_size", "activation": "hidden_act"}  # fmt: skip
"""DistilBERT's names -> everybody else's."""


_POSITIONS_BY_TYPE = ("esm", "granitemoehybrid")
"""Families whose class in the transformers library looks at position_embedding_type."""


class Raw(Struct, frozen=True, kw_only=True):
    """The keys of config.json that embedry looks at, with the types they may have; null is a key left out."""

    model_type: str | None = None
    hidden_size: Count | None = None
    num_hidden_layers: Count | None = None
    num_attention_heads: Count | None = None
    intermediate_size: Count | None = None
    hidden_act: str | None = None
    layer_norm_eps: Small | None = None
    vocab_size: Count | None = None
    max_position_embeddings: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    type_vocab_size: Index | None = None
    pad_token_id: Index | None = None
    relative_attention_num_buckets: Count | None = None
    position_embedding_type: str | None = None
    num_labels: Annotated[int, Meta(ge=0, le=2**16)] | None = None
    """Libraries make a name for each."""
    is_decoder: bool | None = None
    is_encoder_decoder: bool | None = None
    add_cross_attention: bool | None = None
    pruned_heads: dict[str, Any] | None = None
    quantization_config: dict[str, Any] | None = None
    transformers_weights: str | None = None
    dim: Count | None = None
    n_layers: Count | None = None
    n_heads: Count | None = None
    hidden_dim: Count | None = None
    activation: str | None = None


def read(folder: Path, file: str) -> ModelConfig:
    """Parses config.json.

    Args:
        folder: the model's folder.
        file: the path of config.json inside it.

    Raises:
        IntegrityError: it is not JSON, or a key has a value of a wrong type; names file, key and value.
        UnsupportedModelError: it asks for what no engine may or can do: code of its own, a kernel by name, quantised weights,
            weights in another file, pruned heads, positions that are not learned; names file, key and value.
    """
    raw = parsing.read(folder, file, Raw)
    refused = {
        "quantization_config": raw.quantization_config,
        "transformers_weights": raw.transformers_weights,
        "pruned_heads": raw.pruned_heads,
        "add_cross_attention": raw.add_cross_attention,
        "position_embedding_type": raw.position_embedding_type if _ignored_positions(raw) else None,
    }
    for key, asked in refused.items():
        if asked:
            raise UnsupportedModelError(f"{folder / file} sets {key} to {asked!r}, which no engine of embedry computes")
    family = raw.model_type or ""
    defaults = _SHARED_DEFAULTS | _DEFAULTS[family] if family in _DEFAULTS else {}

    def value(key: str) -> Any:
        if family == "distilbert" and key == "layer_norm_eps":  # a constant of its class, whatever the file says
            return defaults[key]
        names = [name for name, shared in _DISTILBERT.items() if shared == key and family == "distilbert"]
        stated = [getattr(raw, name) for name in (*names, key)]
        return next((each for each in stated if each is not None), defaults.get(key))

    keys = (
        "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act", "layer_norm_eps",
        "vocab_size", "max_position_embeddings", "type_vocab_size", "relative_attention_num_buckets",
    )  # fmt: skip
    return ModelConfig(
        model_type=family,
        pad_token_id=value("pad_token_id") or 0,
        is_decoder=bool(raw.is_decoder),
        is_encoder_decoder=bool(raw.is_encoder_decoder),
        **{key: value(key) for key in keys},
    )


def _ignored_positions(raw: Raw) -> bool:
    """Whether the file asks for positions that no engine's class of this family computes, though all would load it."""
    return raw.position_embedding_type not in (None, "absolute") and raw.model_type not in _POSITIONS_BY_TYPE
