"""What a transformer's config.json says, as one record for all engines; `_files/model_config.py` reads it."""

from dataclasses import dataclass

_POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert", "xlm-roberta-xl", "mpnet")
"""Families whose first token has the position of the padding's id + 1 (RoBERTa, arXiv:1907.11692, in its original code)."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What a transformer's config.json says, its family's defaults filled in; None where neither says anything.

    Sizes are positive integers. An engine takes what it needs from here and refuses what it does not compute.
    """

    model_type: str
    """The family, such as "bert"; empty where the file names none."""
    hidden_size: int | None
    """Width of a token vector."""
    num_hidden_layers: int | None
    num_attention_heads: int | None
    intermediate_size: int | None
    """Width between the two products of a feed-forward block."""
    hidden_act: str | None
    """The activation between them."""
    layer_norm_eps: float | None
    """Added to the variance by every layer norm."""
    vocab_size: int | None
    """Rows of the table of token vectors."""
    max_position_embeddings: int | None
    """Rows of the table of positions."""
    type_vocab_size: int | None
    pad_token_id: int
    relative_attention_num_buckets: int | None
    is_decoder: bool
    """Whether a token attends only to those before it."""
    is_encoder_decoder: bool

    @property
    def longest(self) -> int | None:
        """Tokens that the model has positions for; None where nothing limits them."""
        rows = self.max_position_embeddings
        if rows is None or rows < 1:
            return None
        if self.model_type == "mpnet":  # its padding's id is fixed in the original code
            return rows - 2
        return rows - self.pad_token_id - 1 if self.model_type in _POSITIONS_AFTER_PADDING else rows
