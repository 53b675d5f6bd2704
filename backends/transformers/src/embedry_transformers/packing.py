"""Batches without padding: all texts of a batch are in one row, and attention receives their boundaries.

transformers supports custom attention functions, registered by name; this one receives the boundaries with the call. On CUDA it
uses torch's variable-length attention; elsewhere it computes one text after another, as a reference.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

from embedry_transformers import transfers

ATTENTION = "embedry_packed"

POOLINGS = ("mean", "cls", "last")
"""The poolings of packed token vectors that are written here."""

_AFTER_PADDING = ("roberta", "xlm-roberta")
"""Types of models that number positions from the padding's id + 1."""

FAMILIES = ("bert", "distilbert", "gemma3_text", "gte", "modernbert", "nomic_bert", "qwen3", *_AFTER_PADDING)
"""Types of models whose attention depends on distance through windows, causality and rotary positions alone. Others, such as
MPNet and T5, add a bias to the scores, which torch's attention does not take."""

_CAPABILITY = (8, 0)
"""Of the device: FlashAttention 2, which torch's attention is made of, needs Ampere (https://github.com/Dao-AILab/flash-attention)."""

_WIDEST = 256
"""Channels of a head, which must be a multiple of 8, likewise."""


def possible(model: PreTrainedModel) -> bool:
    """Whether this model on this device can run packed: CUDA, half precision, an architecture and heads that torch's attention supports."""
    return (
        model.device.type == "cuda"
        and model.dtype in (torch.float16, torch.bfloat16)
        and model.config.model_type in FAMILIES
        and _head_width(model) % 8 == 0
        and _head_width(model) <= _WIDEST
        and torch.cuda.get_device_capability(model.device) >= _CAPABILITY
        and _varlen() is not None
    )


def prepare(model: PreTrainedModel) -> None:
    """Switches the model to packed attention."""
    AttentionInterface.register(ATTENTION, _attend)
    AttentionMaskInterface.register(ATTENTION, _no_mask)
    model.set_attn_implementation(ATTENTION)


def pooled(model: PreTrainedModel, ids: NDArray[np.int32], mask: NDArray[np.int32], pooling: str) -> torch.Tensor:
    """Pooled vectors, (batch, width), of right-padded ids and their mask, both (batch, sequence)."""
    lengths = mask.sum(axis=1)
    row = transfers.to_device(ids[mask.astype(bool)], model.device)
    bounds = transfers.to_device(np.cumsum([0, *lengths], dtype=np.int32), model.device)
    starts, counts = bounds[:-1], bounds.diff()
    tokens: torch.Tensor = model(
        input_ids=row.long()[None],
        position_ids=_positions(model, row, starts, counts)[None],
        bounds=bounds,
        longest=int(lengths.max()),
    )[0][0]
    if pooling == "cls":
        return tokens[starts]
    if pooling == "last":
        return tokens[bounds[1:] - 1]
    # "unsafe" only omits the check of the lengths, for which the host would have to wait.
    return torch.segment_reduce(tokens.float(), "mean", lengths=counts, unsafe=True)


def _positions(model: PreTrainedModel, row: torch.Tensor, starts: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Each token's position, as the model itself would number padded rows.

    Args:
        model: whose positions they are.
        row: the token ids of all texts, one text after another, (tokens,).
        starts: where each text begins, (texts,).
        counts: the number of its tokens, (texts,).

    Returns:
        int64 (tokens,).
    """
    after_padding = model.config.model_type in _AFTER_PADDING
    pad = model.config.pad_token_id
    counted = row != pad if after_padding else torch.ones_like(row)
    before = counted.cumsum(0) - counted.long()
    within = before - before[starts].repeat_interleave(counts, output_size=len(row))
    return (within + 1) * counted + pad if after_padding else within


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    bounds: torch.Tensor,
    longest: int,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Each text attends to itself.

    Args:
        module: whose attention it is; it says whether it is causal.
        query: (1, heads, tokens, width).
        key: (1, key heads, tokens, width); several heads may share one.
        value: as key.
        attention_mask: None, see `_no_mask`.
        bounds: where each text begins, and the end of the last, int32 (texts + 1,).
        longest: tokens of the longest text.
        scaling: the factor of the scores.
        sliding_window: the first distance outside the window; None for no window.

    Returns:
        (1, tokens, heads, width), and None for the weights of attention.
    """
    back = -1 if sliding_window is None else sliding_window - 1
    window = (back, 0 if module.is_causal else back)
    attend = (_varlen() if query.is_cuda else None) or _attend_in_turn
    q, k, v = (tensor[0].transpose(0, 1).contiguous() for tensor in (query, key, value))  # (tokens, heads, width)
    found: torch.Tensor = attend(
        q, k, v, bounds, bounds, longest, longest, scale=scaling, window_size=window, enable_gqa=k.shape[1] < q.shape[1]
    )
    return found[None], None


def _attend_in_turn(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bounds: torch.Tensor,
    *_: Any,
    scale: float | None,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> torch.Tensor:
    """What `torch.nn.attention.varlen.varlen_attn` computes, one text after the other."""
    parts = []
    for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        place = torch.arange(end - start, device=query.device)
        ahead = place - place[:, None]  # of the query, for each key
        seen = torch.ones_like(ahead, dtype=torch.bool)
        for distance, greatest in zip((-ahead, ahead), window_size, strict=True):
            if greatest >= 0:
                seen &= distance <= greatest
        q, k, v = (tensor[start:end].transpose(0, 1) for tensor in (query, key, value))
        parts.append(
            torch.nn.functional.scaled_dot_product_attention(
                q[None], k[None], v[None], seen, scale=scale, enable_gqa=enable_gqa
            )[0].transpose(0, 1)
        )
    return torch.cat(parts)


def _head_width(model: PreTrainedModel) -> int:
    config = model.config
    width: int = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return width


def _no_mask(*_: Any, **__: Any) -> None:
    """Returns no mask: texts do not attend to each other."""


def _varlen() -> Any:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:  # only in builds of torch for CUDA from 2.10 on
        return None
    return varlen_attn
