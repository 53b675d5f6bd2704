"""Parses config.json into one typed record for all engines, with the defaults of the model's class.

Models that no engine may run are rejected here; each engine decides which families it supports.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct, structs

from embedry._config import ModelConfig
from embedry._files import architectures, parsing
from embedry._files.architectures import Reading
from embedry.errors import IntegrityError, UnsupportedModelError

Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Index = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Small = Annotated[float, Meta(ge=0, le=1)]
Base = Annotated[float, Meta(gt=1, lt=1e12)]

_POSITIONS_BY_TYPE = ("esm", "granitemoehybrid")
"""Families whose class in the transformers library looks at position_embedding_type."""

_SIZES = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "intermediate_size", "hidden_act",
    "layer_norm_eps", "vocab_size", "max_position_embeddings", "type_vocab_size", "relative_attention_num_buckets",
    "relative_attention_max_distance", "rope_theta", "local_rope_theta",
)  # fmt: skip
"""What `ModelConfig` takes as it is stated."""


class Rope(Struct, frozen=True, kw_only=True):
    """What is said of rotary positions: of those of all layers, or under the name of a kind of layers of theirs."""

    rope_type: str | None = None
    type: str | None = None
    rope_theta: Base | None = None
    factor: Annotated[float, Meta(ge=1, lt=1e6)] | None = None
    mixed_b: float | None = None
    partial_rotary_factor: float | None = None
    full_attention: "Rope | None" = None
    sliding_attention: "Rope | None" = None

    @property
    def is_ntk(self) -> bool:
        """Whether positions are stretched as the code of Alibaba's "new" architecture does, by a factor and no more."""
        return (self.rope_type or self.type) == "ntk" and self.factor is not None and self.mixed_b is None

    @property
    def is_plain(self) -> bool:
        """Whether positions are neither stretched nor left out of a part of the channels."""
        return (self.rope_type or self.type or "default") == "default" and self.partial_rotary_factor in (None, 1)

    @property
    def kinds(self) -> "tuple[Rope, ...]":
        """Each kind of layers, or all of them at once."""
        return tuple(kind for kind in (self.full_attention, self.sliding_attention) if kind) or (self,)


class Raw(Struct, frozen=True, kw_only=True):
    """The keys of config.json that embedry looks at, with the types they may have; null is a key left out."""

    model_type: str | None = None
    auto_map: dict[str, Any] | None = None
    hidden_size: Count | None = None
    num_hidden_layers: Count | None = None
    num_attention_heads: Count | None = None
    num_key_value_heads: Count | None = None
    head_dim: Count | None = None
    intermediate_size: Count | None = None
    hidden_act: str | None = None
    layer_norm_eps: Small | None = None
    vocab_size: Count | None = None
    max_position_embeddings: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    type_vocab_size: Index | None = None
    pad_token_id: Index | None = None
    relative_attention_num_buckets: Count | None = None
    relative_attention_max_distance: Count | None = None
    position_embedding_type: str | None = None
    num_labels: Annotated[int, Meta(ge=0, le=2**16)] | None = None
    """Libraries make a name for each."""
    is_decoder: bool | None = None
    is_causal: bool | None = None
    is_encoder_decoder: bool | None = None
    add_cross_attention: bool | None = None
    pruned_heads: dict[str, Any] | None = None
    quantization_config: dict[str, Any] | None = None
    transformers_weights: str | None = None
    rope_theta: Base | None = None
    rope_scaling: Rope | None = None
    rope_parameters: Rope | None = None
    partial_rotary_factor: float | None = None
    layer_types: list[str] | None = None
    # DistilBERT
    dim: Count | None = None
    n_layers: Count | None = None
    n_heads: Count | None = None
    hidden_dim: Count | None = None
    activation: str | None = None
    # ModernBERT
    hidden_activation: str | None = None
    norm_eps: Small | None = None
    norm_bias: bool | None = None
    attention_bias: bool | None = None
    mlp_bias: bool | None = None
    global_rope_theta: Base | None = None
    local_rope_theta: Base | None = None
    local_attention: Count | None = None
    global_attn_every_n_layers: Count | None = None
    # nomic
    n_embd: Count | None = None
    n_layer: Count | None = None
    n_head: Count | None = None
    n_inner: Count | None = None
    n_positions: Count | None = None
    activation_function: str | None = None
    layer_norm_epsilon: Small | None = None
    rotary_emb_base: Base | None = None
    rotary_emb_fraction: float | None = None
    rotary_emb_interleaved: bool | None = None
    rotary_emb_scale_base: float | None = None
    rotary_scaling_factor: float | None = None
    scale_attn_weights: bool | None = None
    scale_attn_by_inverse_layer_idx: bool | None = None
    qkv_proj_bias: bool | None = None
    mlp_fc1_bias: bool | None = None
    mlp_fc2_bias: bool | None = None
    prenorm: bool | None = None
    parallel_block: bool | None = None
    use_rms_norm: bool | None = None
    causal: bool | None = None
    num_experts: Index | None = None
    # Alibaba's "new"
    layer_norm_type: str | None = None
    pack_qkv: bool | None = None
    logn_attention_scale: bool | None = None
    logn_attention_clip1: bool | None = None
    # Qwen 3 and Gemma 3
    rms_norm_eps: Small | None = None
    use_sliding_window: bool | None = None
    sliding_window: Count | None = None
    sliding_window_pattern: Count | None = None
    rope_local_base_freq: Base | None = None
    query_pre_attn_scalar: Base | None = None
    attn_logit_softcapping: float | None = None
    use_bidirectional_attention: bool | None = None
    # Jina's BERT
    feed_forward_type: str | None = None
    # T5
    d_model: Count | None = None
    d_kv: Count | None = None
    d_ff: Count | None = None
    num_layers: Count | None = None
    num_heads: Count | None = None
    feed_forward_proj: str | None = None

    @property
    def architecture(self) -> str:
        """See `architectures.of_config`."""
        return architectures.of_config(self.model_type or "", self.auto_map, self.position_embedding_type)


def read(folder: Path, file: str) -> ModelConfig:
    """Parses config.json.

    Args:
        folder: the model's folder.
        file: the path of config.json inside it.

    Raises:
        IntegrityError: it is not JSON, a key has a value of a wrong type, or two keys contradict each other; names file, key
            and value.
        UnsupportedModelError: it asks for what no engine may or can do: code of its own, a kernel by name, quantized weights,
            weights in another file, pruned heads, positions of another kind than its family's; names file, key and value.
    """
    raw = parsing.read(folder, file, Raw)
    reading = architectures.READINGS.get(raw.architecture)
    for key, asked in _refused(raw, reading):
        raise UnsupportedModelError(f"{folder / file} sets {key} to {asked!r}, which no engine of embedry computes")
    values = _values(raw, reading)
    if reading is not None and raw.layer_types is not None and len(raw.layer_types) != values["num_hidden_layers"]:
        raise IntegrityError(
            f"{folder / file} has {len(raw.layer_types)} layer_types and num_hidden_layers={values['num_hidden_layers']}"
        )
    scaling = raw.rope_scaling or Rope()
    sizes = {key: values.get(key) for key in _SIZES}
    if sizes["num_key_value_heads"] is None:
        sizes["num_key_value_heads"] = sizes["num_attention_heads"]
    if sizes["head_dim"] is None and sizes["hidden_size"] and sizes["num_attention_heads"]:
        sizes["head_dim"] = sizes["hidden_size"] // sizes["num_attention_heads"]
    is_causal = _is_causal(raw, values)
    return ModelConfig(
        architecture=raw.architecture,
        pad_token_id=values.get("pad_token_id") or 0,
        is_causal=is_causal,
        is_encoder_decoder=bool(values.get("is_encoder_decoder")),
        rope_ntk_factor=scaling.factor if scaling.is_ntk and raw.architecture == "new" else None,
        local_layers=_local_layers(raw, values),
        window=_window(raw, values, is_causal=is_causal),
        query_scale=_query_scale(raw, values, sizes["head_dim"]),
        **sizes,
    )


def _values(raw: Raw, reading: Reading | None) -> dict[str, Any]:
    """What the file states, under our names and with the defaults of its family."""
    stated = {key: value for key, value in structs.asdict(raw).items() if value is not None}
    if reading is None:
        return stated
    if raw.architecture == "distilbert":  # a constant of its class, whatever the file says
        stated.pop("layer_norm_eps", None)
    renamed = {ours: stated[theirs] for theirs, ours in reading.names.items() if theirs in stated}
    if raw.activation_function in architectures.GATED:
        renamed["hidden_act"] = architectures.GATED[raw.activation_function]
    return {**reading.defaults, **stated, **renamed, **_rope(raw)}


def _rope(raw: Raw) -> dict[str, float]:
    """The bases of rotary positions, as transformers 5 writes them: for all layers alike, or for each kind."""
    found = raw.rope_parameters or Rope()
    bases = {
        "rope_theta": (found.full_attention or found).rope_theta,
        "local_rope_theta": (found.sliding_attention or Rope()).rope_theta,
    }
    return {key: base for key, base in bases.items() if base is not None}


def _is_causal(raw: Raw, values: Mapping[str, Any]) -> bool:
    return bool(raw.is_decoder or (values.get("is_causal") and not raw.use_bidirectional_attention))


def _query_scale(raw: Raw, values: Mapping[str, Any], head_dim: int | None) -> float | None:
    if raw.architecture == "t5":
        return 1.0
    width = values.get("query_pre_attn_scalar", head_dim) if raw.architecture == "gemma3_text" else head_dim
    return width**-0.5 if width else None


def _local_layers(raw: Raw, values: Mapping[str, Any]) -> tuple[int, ...]:
    if raw.architecture not in ("modernbert", "gemma3_text"):
        return ()
    if raw.layer_types is not None:
        return tuple(number for number, kind in enumerate(raw.layer_types) if kind == "sliding_attention")
    # Of every so many layers ModernBERT's first sees all of the text, and Gemma's last.
    every, first = values["full_every"], 0 if raw.architecture == "modernbert" else 1
    return tuple(number for number in range(min(values["num_hidden_layers"], 2**16)) if (number + first) % every)


def _window(raw: Raw, values: Mapping[str, Any], *, is_causal: bool) -> int | None:
    """The greatest distance; both families state the width of the whole window, Gemma's without its end if it looks back."""
    if raw.architecture == "modernbert":
        return raw.local_attention // 2 if raw.local_attention is not None else int(values["window"])
    if raw.architecture == "gemma3_text":
        return int(values["window"]) - 1 if is_causal else int(values["window"]) // 2
    return None


def _refused(raw: Raw, reading: Reading | None) -> list[tuple[str, object]]:
    """What the file asks for and no engine computes: keys and values."""
    refused: dict[str, object] = {
        "quantization_config": raw.quantization_config,
        "transformers_weights": raw.transformers_weights,
        "pruned_heads": raw.pruned_heads,
        "add_cross_attention": raw.add_cross_attention,
    }
    found = [(key, asked) for key, asked in refused.items() if asked]
    only = reading.only if reading is not None else {}
    if "position_embedding_type" not in only and _ignored_positions(raw):
        found.append(("position_embedding_type", raw.position_embedding_type))
    for key, allowed in only.items():
        stated = getattr(raw, key)
        if stated is not None and stated not in allowed:
            found.append((key, stated))
    if reading is not None and "rope_theta" in reading.defaults:
        found += _unknown_rotations(raw)
    if reading is not None and raw.layer_types is not None:
        kinds = {"full_attention", "sliding_attention"} if "full_every" in reading.defaults else {"full_attention"}
        found += [("layer_types", kind) for kind in raw.layer_types if kind not in kinds][:1]
    return found


def _unknown_rotations(raw: Raw) -> Iterator[tuple[str, object]]:
    scaling = raw.rope_scaling or Rope()
    if not scaling.is_plain and not (scaling.is_ntk and raw.architecture == "new"):
        yield "rope_scaling", _said(scaling)
    for kind in (raw.rope_parameters or Rope()).kinds:
        if not kind.is_plain:
            yield "rope_parameters", _said(kind)
    if raw.partial_rotary_factor not in (None, 1):
        yield "partial_rotary_factor", raw.partial_rotary_factor


def _said(rope: Rope) -> dict[str, object]:
    return {key: value for key, value in structs.asdict(rope).items() if value is not None}


def _ignored_positions(raw: Raw) -> bool:
    """Whether the file asks for positions that no engine's class of this family computes, though all would load it."""
    return raw.position_embedding_type not in (None, "absolute") and raw.model_type not in _POSITIONS_BY_TYPE
