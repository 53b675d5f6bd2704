"""Loading a model with transformers, in the precision that suits its device."""

from pathlib import Path

import torch
import transformers
from transformers import (
    MODEL_FOR_TEXT_ENCODING_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForTextEncoding,
    PreTrainedModel,
)

from embedry.backend import LoadRequest
from embedry_torch.loading import DTYPES, STRICT, accounted, refused_by

_BEYOND_FP16 = ("gemma3_text", "t5")
"""Architectures that were trained in bf16, and whose activations may exceed what fp16 holds: EmbeddingGemma's model card says so,
and of T5 the transformers library keeps a part in fp32 for it."""


def dtype(precision: str | None, torch_device: torch.device, architecture: str) -> torch.dtype:
    """The number format asked for, or what suits the device: fp32 on the CPU; on CUDA bf16 where the card has it."""
    if precision is not None:
        return DTYPES[precision]
    if torch_device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    if torch_device.type == "cpu" or architecture in _BEYOND_FP16:
        return torch.float32
    return torch.float16


def model(request: LoadRequest, folder: Path, torch_device: torch.device, number: torch.dtype) -> PreTrainedModel:
    """The model on its device, ready to infer.

    Args:
        request: what to load.
        folder: see `embedry_torch.configs.files`.
        torch_device: where to.
        number: the format of its weights and of what is computed.

    Raises:
        IntegrityError: a tensor is missing, left over or of the wrong shape; transformers itself would only mention it.
        UnsupportedModelError: transformers has no code for this model, or only the model's own, which is never run.
    """
    spec = request.spec
    place = folder / (spec.transformer.path if spec.transformer else "")
    with refused_by(f"transformers {transformers.__version__}", spec):
        config = AutoConfig.from_pretrained(place, trust_remote_code=False, local_files_only=True)
        # Of a model with a decoder, only the encoder makes vectors of a text.
        has_encoder = config.is_encoder_decoder and type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING
        kind = AutoModelForTextEncoding if has_encoder else AutoModel
        loaded, report = kind.from_pretrained(place, config=config, dtype=number, **STRICT)
    accounted(loaded, report, request)
    found: PreTrainedModel = loaded
    found.to(torch_device)  # type: ignore[arg-type]  # its stub knows only strings
    return found
