"""Loads models with torch libraries strictly: safetensors only, no remote code, every tensor accounted for."""

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from logging import LogRecord, getLogger
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.utils import logging

from embedry import EmbedryError, IntegrityError, ModelSpec, OptionError, UnsupportedModelError
from embedry.backend import LibraryThreads, LoadRequest, Tensor, is_failure, is_read, tensors
from embedry.heads import Classifier, LogitScore, MaskedLM
from embedry.modules import Dense, Module

_IMPORTED_IN = os.getpid()

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""The number formats of these backends, by the names that users give."""

STRICT: dict[str, Any] = {
    "use_safetensors": True,
    "trust_remote_code": False,
    "local_files_only": True,
    "attn_implementation": None,  # the library's own choice; config.json could name a kernel to fetch and import
    "ignore_mismatched_sizes": True,  # they are reported like the others, and refused by `accounted`
    "output_loading_info": True,
}
"""Options of `from_pretrained`. What is left out is read from the model's files, or asked on standard input."""

_TYPES = "embeddings.token_type_embeddings.weight"

_PARTS: dict[type[Module], tuple[str, ...]] = {
    Classifier: ("classifier.", "pre_classifier.", "classification_head.", "head.", "score."),
    LogitScore: ("lm_head.",),
    MaskedLM: ("cls.predictions.", "lm_head.", "vocab_", "generator_", "head.", "decoder."),
}
"""Modules that are a head among the transformer's own tensors -> how the names of its tensors begin, if left over or not."""


def device(name: str) -> torch.device:
    """The torch device with this name; "auto" is the fastest kind that torch finds.

    Raises:
        OptionError: torch does not find the device.
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


def precision(dtype: torch.dtype) -> str:
    """The name of a number format."""
    return next(name for name, each in DTYPES.items() if each == dtype)


def threads(count: int | None) -> LibraryThreads:
    """Sets torch's threads to one or to `count`; None does not change them."""
    return LibraryThreads(count, get_count=torch.get_num_threads, set_count=torch.set_num_threads)


@contextmanager
def refused_by(library: str, spec: ModelSpec) -> Iterator[None]:
    """Silences a library while it loads a model, and converts its errors.

    Raises:
        UnsupportedModelError: the library does not support this model, or only with remote code, which never runs.
    """
    if os.getpid() != _IMPORTED_IN:
        # A forked child has lost torch's threads and would wait for them indefinitely, so it must not use them.
        torch.set_num_threads(1)
    try:
        with _silence():
            yield
    except (torch.OutOfMemoryError, EmbedryError):
        raise
    except BaseException as error:  # the library raises any exception for unusual config values
        if not is_failure(error):
            raise
        reason = str(error).partition("\n")[0]
        raise UnsupportedModelError(
            f"{library} cannot load {spec.name!r} with its own code, and code that comes with a model is never run: {reason}"
        ) from error


def accounted(loaded: PreTrainedModel, report: Mapping[str, Collection[Any]], request: LoadRequest) -> None:
    """Checks that the tensors of the model and of the files match exactly, and puts the model into inference mode.

    Args:
        loaded: the model as `from_pretrained` with `STRICT` returns it.
        report: the loading report of `from_pretrained`.
        request: the requested model.

    Raises:
        IntegrityError: a tensor is missing, left over or of the wrong shape; transformers itself only logs it.
        UnsupportedModelError: its class has another head than the entry says.
    """
    spec, config = request.spec, request.config
    missing, unexpected = set(report["missing_keys"]), set(report["unexpected_keys"])
    types = {name for name in missing if name.endswith(_TYPES)}
    if config is not None and config.architecture == "new" and config.type_vocab_size == 0 and types:
        missing -= types  # the model has no token types, but its class always adds one
        for name in types:
            loaded.get_parameter(name).data.zero_()
    misshapen = {str(key[0] if isinstance(key, tuple) else key) for key in report["mismatched_keys"]}
    where = f"{', '.join(spec.weights)} of {spec.name!r}"
    unexpected -= {name for module in spec.body for name in own_tensors(module)}
    head = next((module for module in spec.body if type(module) in _PARTS), None)
    if head is None:
        missing, unexpected, misshapen = (
            {name for name in found if is_read(name, spec.architecture)} for found in (missing, unexpected, misshapen)
        )
    else:
        _check_head(loaded, head, spec)
        prefix, parts = f"{loaded.base_model_prefix}.", _PARTS[type(head)]
        missing &= {name for name, _ in loaded.named_parameters()}
        names = {name: name.removeprefix(prefix) for name in unexpected}
        unexpected = {
            name for name, inner in names.items() if is_read(inner, spec.architecture) or inner.startswith(parts)
        }
    _refuse_faults(where, missing, unexpected, misshapen)
    loaded.eval().requires_grad_(False)


def reads_last_position(loaded: PreTrainedModel, spec: ModelSpec) -> bool:
    """Whether a decoder's classification class uses the last position of a row as the last token, because it has no padding token."""
    is_classifier = any(isinstance(module, Classifier) for module in spec.body)
    return is_classifier and loaded.config.get_text_config().pad_token_id is None


def _check_head(loaded: PreTrainedModel, head: Module, spec: ModelSpec) -> None:
    name, config = type(loaded).__name__, loaded.config
    if config.is_encoder_decoder:
        raise UnsupportedModelError(f"the head of {spec.name!r}, {name}, is behind a decoder that reads the text again")
    mean = getattr(config, "classifier_pooling", "cls") == "mean"
    if isinstance(head, Classifier) and mean != (head.pooling == "mean"):
        raise UnsupportedModelError(
            f"the head of {spec.name!r}, {name}, takes {'the mean of all' if mean else 'one'} of the token vectors, and its "
            f"entry says Classifier(pooling={head.pooling!r})"
        )


def own_tensors(module: Module) -> tuple[str, ...]:
    """The tensor names of a module whose weights are in the transformer's files: a Dense without a path."""
    if not isinstance(module, Dense) or module.path:
        return ()
    return ("linear.weight", "linear.bias") if module.bias else ("linear.weight",)


def module_weights(
    spec: ModelSpec, folder: Path, file: str, shapes: Mapping[str, tuple[int, ...] | None]
) -> dict[str, torch.Tensor]:
    """Reads the tensors of a module of the chain, float32, on the CPU; None allows any shape.

    Without a file, they are in the transformer's files, among other tensors.

    Raises:
        IntegrityError: a tensor is missing or has the wrong shape, or the file contains others.
    """
    stored: dict[str, Tensor] = {}
    for each in (file,) if file else spec.weights:
        stored |= tensors(folder / each)
    misshapen = {name for name in shapes.keys() & stored.keys() if shapes[name] not in (None, stored[name].shape)}
    missing = shapes.keys() - stored.keys()
    unexpected = {name for name in stored.keys() - shapes.keys() if file and is_read(name)}
    _refuse_faults(f"{file or ', '.join(spec.weights)} of {spec.name!r}", missing, unexpected, misshapen)
    return {name: torch.tensor(stored[name].values()) for name in shapes}


def _refuse_faults(
    where: str,
    missing: Collection[str],
    unexpected: Collection[str],
    misshapen: Collection[str],
) -> None:
    faults = {
        "lacks": missing,
        "has, unaccounted for by its configuration,": unexpected,
        "has in the wrong shape": misshapen,
    }
    for fault, found in faults.items():
        if found:
            names = sorted(found)
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            raise IntegrityError(f"{where} {fault} {shown}")


@contextmanager
def _silence() -> Iterator[None]:
    """Suppresses a short progress bar and the table of tensors on stderr; tensors are checked here."""
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
