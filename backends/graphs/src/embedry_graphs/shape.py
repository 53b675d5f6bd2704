"""The sizes of a model in config.json, which every tensor of its checkpoint must match."""

from dataclasses import dataclass

from embedry import UnsupportedModelError
from embedry.backend import ModelConfig


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of an encoder. Those that a family does not have are 0 or None."""

    width: int
    """Of a token vector."""
    inner: int
    """Width between the products of a feed-forward block."""
    layers: int
    heads: int
    key_heads: int
    """Heads of keys and values."""
    head_width: int
    scale: float
    """What scores are multiplied with."""
    activation: str
    epsilon: float
    """Added by every norm."""
    words: int
    positions: int
    """Rows of the table of positions, or the greatest length; 0 for no limit."""
    token_types: int
    pad_id: int
    buckets: int
    """Of relative distances."""
    farthest: int
    """Distances from here on share a bucket."""
    theta: float
    """The base of rotary positions."""
    local_theta: float
    ntk_factor: float
    local_layers: tuple[int, ...]
    window: int
    """The greatest distance at which tokens of a local layer attend to each other."""
    is_causal: bool

    @classmethod
    def of(cls, config: ModelConfig) -> "Shape":
        """The sizes that a config.json states.

        Raises:
            UnsupportedModelError: a required size is missing.
        """
        needed = {
            "width": config.hidden_size,
            "inner": config.intermediate_size,
            "layers": config.num_hidden_layers,
            "heads": config.num_attention_heads,
            "key_heads": config.num_key_value_heads,
            "head_width": config.head_dim,
            "scale": config.query_scale,
            "activation": config.hidden_act,
            "epsilon": config.layer_norm_eps,
            "words": config.vocab_size,
        }
        for name, value in needed.items():
            if value is None:
                raise UnsupportedModelError(f"config.json of a {config.architecture!r} does not state its {name}")
        return cls(
            **needed,  # type: ignore[arg-type]  # none of them is None
            positions=config.max_position_embeddings or 0,
            token_types=config.type_vocab_size or 0,
            pad_id=config.pad_token_id,
            buckets=config.relative_attention_num_buckets or 0,
            farthest=config.relative_attention_max_distance or 0,
            theta=config.rope_theta or 0.0,
            local_theta=config.local_rope_theta or 0.0,
            ntk_factor=config.rope_ntk_factor or 1.0,
            local_layers=config.local_layers,
            window=config.window or 0,
            is_causal=config.is_causal,
        )
