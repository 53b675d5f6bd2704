"""Batches without padding: all texts of a batch stand in one row, and attention is given where each begins.

transformers lets an attention function be registered by name; ours takes the boundaries from the call. On CUDA it is
torch's variable-length attention; elsewhere, where it serves as the reference, each text attends in turn.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface

ATTENTION = "embedry_packed"

POOLINGS = ("mean", "cls", "last")
"""The poolings of packed token vectors that are written here."""

_AFTER_PADDING = {"bert": False, "distilbert": False, "roberta": True, "xlm-roberta": True}
"""`model_type` -> whether positions are numbered from the padding's id + 1, as RoBERTa does, or from 0."""


def possible(model: PreTrainedModel) -> bool:
    """Whether this model on this device can run packed: CUDA, half precision, a family whose positions are known."""
    return (
        model.device.type == "cuda"
        and model.dtype in (torch.float16, torch.bfloat16)
        and model.config.model_type in _AFTER_PADDING
        and _varlen() is not None
    )


def prepare(model: PreTrainedModel) -> None:
    """Makes the model use the packed attention."""
    AttentionInterface.register(ATTENTION, _attend)
    AttentionMaskInterface.register(ATTENTION, _no_mask)
    model.set_attn_implementation(ATTENTION)


def pooled(model: PreTrainedModel, ids: NDArray[np.int32], mask: NDArray[np.int32], pooling: str) -> torch.Tensor:
    """Pooled vectors, (batch, width), of right-padded ids and their mask, both (batch, sequence)."""
    device = model.device
    real = mask.astype(bool)
    lengths = mask.sum(axis=1)
    ends = np.cumsum(lengths)
    starts = ends - lengths
    positions = _positions(model, ids, real)[real]
    bounds = torch.from_numpy(np.concatenate([[0], ends]).astype(np.int32)).to(device, non_blocking=True)
    tokens: torch.Tensor = model(
        input_ids=torch.from_numpy(ids[real].astype(np.int64))[None].to(device, non_blocking=True),
        position_ids=torch.from_numpy(positions)[None].to(device, non_blocking=True),
        bounds=bounds,
        longest=int(lengths.max()),
    )[0][0]
    if pooling == "cls":
        return tokens[torch.from_numpy(starts).to(device)]
    if pooling == "last":
        return tokens[torch.from_numpy(ends - 1).to(device)]
    counts = torch.from_numpy(lengths).to(device)
    return torch.segment_reduce(tokens.float(), "mean", lengths=counts)


def _positions(model: PreTrainedModel, ids: NDArray[np.int32], real: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Each token's position, as the model itself would number padded rows; int64 (batch, sequence)."""
    if not _AFTER_PADDING[model.config.model_type]:
        return np.cumsum(real, axis=1) - 1
    pad: int = model.config.pad_token_id
    is_text = ids != pad
    positions: NDArray[np.int64] = np.cumsum(is_text, axis=1) * is_text + pad
    return positions


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
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Each text attends to itself. Query, key and value are (1, heads, tokens, width); so is the result, heads second."""
    varlen = _varlen() if query.is_cuda else None
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))  # (tokens, heads, width)
    if varlen is not None:
        return varlen(q.contiguous(), k.contiguous(), v.contiguous(), bounds, bounds, longest, longest, scale=scaling)[
            None
        ], None
    parts = [
        torch.nn.functional.scaled_dot_product_attention(
            query[:, :, start:end], key[:, :, start:end], value[:, :, start:end], scale=scaling
        )
        for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2), None


def _no_mask(*_: Any, **__: Any) -> None:
    """No mask is needed where no text sees another."""


def _varlen() -> Any:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:  # only in builds of torch for CUDA from 2.10 on
        return None
    return varlen_attn
