"""Loading a model with transformers, strictly: safetensors only, no remote code, every tensor accounted for."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from logging import LogRecord, getLogger
from pathlib import Path

import torch
import transformers
from transformers import AutoModel, PreTrainedModel
from transformers.utils import logging

from embedry import IntegrityError, ModelSpec, OptionError, UnsupportedModelError
from embedry.backend import is_failure, is_read

_IMPORTED_IN = os.getpid()

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def device(name: str) -> torch.device:
    """The torch device of this name; "auto" is the fastest kind that torch finds.

    Raises:
        OptionError: torch does not find it.
    """
    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, there in found.items() if there))
    try:
        torch_device = torch.device(name)
    except RuntimeError:  # "cuda:first", which torch cannot read
        torch_device = torch.device("meta")
    if not found.get(torch_device.type) or (
        torch_device.type == "cuda" and (torch_device.index or 0) >= torch.cuda.device_count()
    ):
        there = ", ".join(kind for kind, is_there in found.items() if is_there)
        raise OptionError(f"device={name!r} is not available: torch {torch.__version__} only supports {there}")
    return torch_device


def dtype(precision: str | None, torch_device: torch.device) -> torch.dtype:
    """The number format asked for, or what suits the device: fp32 on the CPU; on CUDA bf16 where the card has it."""
    if precision is not None:
        return DTYPES[precision]
    if torch_device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.float16 if torch_device.type == "mps" else torch.float32


def model(spec: ModelSpec, folder: Path, torch_device: torch.device, number: torch.dtype) -> PreTrainedModel:
    """The model on its device, ready to infer.

    Raises:
        IntegrityError: a tensor is missing, left over or of the wrong shape; transformers itself would only mention it.
        UnsupportedModelError: transformers has no code for this model, or only the model's own, which is never run.
    """
    if os.getpid() != _IMPORTED_IN:
        # In a forked child torch's own threads are gone, and it would wait for them for ever: it is to use none there.
        torch.set_num_threads(1)
    loaded: PreTrainedModel
    try:
        with _silence():
            loaded, report = AutoModel.from_pretrained(
                folder / (spec.transformer.path if spec.transformer else ""),
                dtype=number,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                attn_implementation=None,  # the library's own choice; config.json could name a kernel to fetch and import
                ignore_mismatched_sizes=True,  # they are reported like the others, and refused below
                output_loading_info=True,
            )
    except BaseException as error:  # for a config of odd values the library raises whatever comes
        if not is_failure(error):
            raise
        reason = str(error).partition("\n")[0]
        raise UnsupportedModelError(
            f"transformers {transformers.__version__} cannot load {spec.name!r} with its own code, and code that comes "
            f"with a model is never run: {reason}"
        ) from error
    faults = {
        "lacks": sorted(filter(is_read, report["missing_keys"])),
        "has, unaccounted for by config.json,": sorted(filter(is_read, report["unexpected_keys"])),
        "has in the wrong shape": sorted(
            str(key[0] if isinstance(key, tuple) else key) for key in report["mismatched_keys"]
        ),
    }
    for fault, names in faults.items():
        if names:
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            raise IntegrityError(f"{', '.join(spec.weights)} of {spec.name!r} {fault} {shown}")
    loaded.eval().requires_grad_(False)
    loaded.to(torch_device)  # type: ignore[arg-type]  # its stub knows only strings
    return loaded


@contextmanager
def _silence() -> Iterator[None]:
    """Keeps off stderr a progress bar for a tenth of a second, and the table of tensors, which are accounted for here."""
    shown = logging.is_progress_bar_enabled()
    reporter = getLogger("transformers.modeling_utils")

    def is_no_report(record: LogRecord) -> bool:
        return "LOAD REPORT" not in record.getMessage()

    logging.disable_progress_bar()
    reporter.addFilter(is_no_report)
    try:
        yield
    finally:
        reporter.removeFilter(is_no_report)
        if shown:
            logging.enable_progress_bar()
