"""Loads a model with transformers, in a suitable precision for its device."""

from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    MODEL_FOR_TEXT_ENCODING_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTextEncoding,
    PreTrainedConfig,
    PreTrainedModel,
)

from embedry import ModelSpec
from embedry.backend import LoadRequest
from embedry.heads import Classifier, LogitScore, MaskedLM
from embedry.modules import Module
from embedry_torch.loading import DTYPES, STRICT, accounted, refused_by

_BEYOND_FP16 = ("gemma3_text", "t5")
"""Architectures that were trained in bf16, and whose activations may exceed what fp16 holds: EmbeddingGemma's model card says so,
and of T5 the transformers library keeps a part in fp32 for it."""

_WITH_HEAD: dict[type[Module], Any] = {
    Classifier: AutoModelForSequenceClassification,
    LogitScore: AutoModelForCausalLM,
    MaskedLM: AutoModelForMaskedLM,
}
"""Modules that are a head among the transformer's own tensors -> the class that knows it for each family."""


def dtype(precision: str | None, torch_device: torch.device, architecture: str) -> torch.dtype:
    """The requested number format, or the default of the device: fp32 on the CPU; on CUDA bf16 if the card supports it."""
    if precision is not None:
        return DTYPES[precision]
    if torch_device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    if torch_device.type == "cpu" or architecture in _BEYOND_FP16:
        return torch.float32
    return torch.float16


def model(request: LoadRequest, folder: Path, torch_device: torch.device, number: torch.dtype) -> PreTrainedModel:
    """Loads the model on its device, in inference mode.

    Args:
        request: the model and its settings.
        folder: see `embedry_torch.configs.files`.
        torch_device: the device.
        number: the number format of weights and activations.

    Raises:
        IntegrityError: a tensor is missing, left over or of the wrong shape; transformers itself only logs it.
        UnsupportedModelError: transformers does not support this model, or only with remote code, which never runs.
    """
    spec = request.spec
    place = folder / (spec.transformer.path if spec.transformer else "")
    with refused_by(f"transformers {transformers.__version__}", spec):
        config = AutoConfig.from_pretrained(place, trust_remote_code=False, local_files_only=True)
        loaded, report = _class(spec, config).from_pretrained(place, config=config, dtype=number, **STRICT)
    accounted(loaded, report, request)
    found: PreTrainedModel = loaded
    found.to(torch_device)  # type: ignore[arg-type]  # its stub knows only strings
    return found


def _class(spec: ModelSpec, config: PreTrainedConfig) -> Any:
    for module in spec.body:
        if type(module) in _WITH_HEAD:
            return _WITH_HEAD[type(module)]
    # Of a model with a decoder, only the encoder makes vectors of a text.
    has_encoder = config.is_encoder_decoder and type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING
    return AutoModelForTextEncoding if has_encoder else AutoModel
