"""`ModelConfig`, the parsed config.json of a transformer, for all engines; `_files/model_config.py` reads it."""

from dataclasses import dataclass

_POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "mpnet")
"""Families whose first token has the position of the padding's id + 1 (RoBERTa, arXiv:1907.11692, in its original code)."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The settings in a transformer's config.json, with the defaults of its family; None if neither has a value.

    Sizes are positive integers. An engine takes what it needs from here and refuses what it does not compute.
    """

    architecture: str
    """The family: `model_type`, such as "bert", or another name where the file describes what that type alone does not.
    Empty where the file names none."""
    hidden_size: int | None
    """Width of a token vector."""
    num_hidden_layers: int | None
    num_attention_heads: int | None
    num_key_value_heads: int | None
    """Fewer than `num_attention_heads` where several heads share keys and values (Ainslie et al. 2023, arXiv:2305.13245)."""
    head_dim: int | None
    """Width of one head's queries, keys and values."""
    intermediate_size: int | None
    """Width between the two products of a feed-forward block."""
    hidden_act: str | None
    """The activation between them, by its name in the transformers library."""
    layer_norm_eps: float | None
    """Added to the variance by every layer norm, or to the mean square by every RMS norm."""
    vocab_size: int | None
    """Rows of the table of token vectors."""
    max_position_embeddings: int | None
    """Rows of the table of positions, or the greatest length where positions need no table."""
    type_vocab_size: int | None
    pad_token_id: int
    relative_attention_num_buckets: int | None
    relative_attention_max_distance: int | None
    """Distances from here on share a bucket."""
    rope_theta: float | None
    """The base of rotary positions (Su et al. 2021, arXiv:2104.09864)."""
    local_rope_theta: float | None
    """The same in local layers."""
    rope_ntk_factor: float | None
    """By how much rotary positions are stretched; see `embedry_graphs.rotary`."""
    local_layers: tuple[int, ...]
    """The numbers, from 0, of layers in which a token attends only to those within `window`."""
    window: int | None
    """The greatest distance at which two tokens of a local layer attend to each other."""
    query_scale: float | None
    """What scores are multiplied with."""
    is_causal: bool
    """Whether a token attends only to itself and those before it."""
    is_encoder_decoder: bool

    @property
    def longest(self) -> int | None:
        """Tokens that the model has positions for; None where nothing limits them."""
        rows = self.max_position_embeddings
        if rows is None or rows < 1:
            return None
        if self.architecture == "mpnet":  # its padding's id is fixed in the original code
            return rows - 2
        return rows - self.pad_token_id - 1 if self.architecture in _POSITIONS_AFTER_PADDING else rows
