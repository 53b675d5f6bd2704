"""Loading a model with sentence-transformers, strictly: safetensors only, no remote code, every tensor accounted for."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from logging import LogRecord, getLogger
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers.utils import logging

from embedry import IntegrityError, ModelSpec, OptionError, UnsupportedModelError
from embedry._files.weights import is_read

_IMPORTED_IN = os.getpid()

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_ON_TEXT = ("Transformer(do_lower_case=True)", "Pooling(include_prompt=False)")
"""Entries of `ModelSpec.modules` that need the text, not only its token ids."""


def model(spec: ModelSpec, folder: Path, device: str, precision: str) -> SentenceTransformer:
    """The model, without its Normalize module: normalising is the pipeline's, after shortening.

    Raises:
        OptionError: torch does not find the device.
        IntegrityError: a tensor is missing, left over or of the wrong shape; the library itself would only mention it.
        UnsupportedModelError: the libraries have no code for this model, or only the model's own, which is never run.
    """
    if os.getpid() != _IMPORTED_IN:
        # In a forked child torch's own threads are gone, and it would wait for them for ever: it is to use none there.
        torch.set_num_threads(1)
    place = _found(device)
    _check_activations(spec, folder)
    try:
        with _silence():
            loaded = _loaded(spec, folder, place, precision)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:  # what torch raises for tensors of a module that are not those it has
        raise IntegrityError(f"the weights of {spec.name!r} in {folder} do not fit its config.json: {error}") from error
    except ValueError as error:
        reason = str(error).partition("\n")[0]
        raise UnsupportedModelError(
            f"sentence-transformers cannot load {spec.name!r} with its own code, and code that comes with a model is "
            f"never run: {reason}"
        ) from error
    for name, module in list(loaded.named_children()):
        if isinstance(module, Normalize):
            delattr(loaded, name)
    for module in loaded.children():
        if isinstance(module, Transformer):
            _check_tensors(module.model, spec, folder)
            module.max_seq_length = (
                spec.max_seq_length
            )  # the entry's length holds, as it does for the pipeline's tokens
    return loaded.eval().requires_grad_(False)


def takes_ids(loaded: SentenceTransformer, spec: ModelSpec) -> bool:
    """Whether the model starts with a transformer over plain token ids, so that the pipeline's tokens are its own."""
    return type(loaded[0]) is Transformer and not set(_ON_TEXT) & set(spec.modules)


def _found(device: str) -> str | None:
    if device == "auto":
        return None
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise OptionError(f"device={device!r} is not here: {error}") from error
    return device


def _loaded(spec: ModelSpec, folder: Path, place: str | None, precision: str) -> SentenceTransformer:
    # Tensors of a wrong shape are passed over here, and refused by their names once all is loaded.
    # What is left out here is read from the model's files, or asked on standard input: whether to run its code, for one.
    safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    options = safe | {
        "dtype": DTYPES[precision],
        "use_safetensors": True,
        "ignore_mismatched_sizes": True,
        "attn_implementation": None,  # the library's own choice; config.json could name a kernel to fetch and import
    }
    if "modules.json" in spec.files:
        return SentenceTransformer(
            str(folder),
            device=place,
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs=options,
            processor_kwargs=safe,
            config_kwargs=safe,
        )
    # An entry lists only what its fields do not say: the chain is made from them.
    transformer = Transformer(str(folder), model_kwargs=options, processor_kwargs=safe, config_kwargs=safe)
    pooling = [{"last": "lasttoken"}.get(part, part) for part in spec.pooling.split("+")]
    width = transformer.get_embedding_dimension()
    return SentenceTransformer(modules=[transformer, Pooling(width, pooling_mode=pooling)], device=place)


def _check_activations(spec: ModelSpec, folder: Path) -> None:
    """UnsupportedModelError for an activation that is not torch's: the library would put tanh in its place."""
    for file in spec.files:
        if file.endswith("/config.json"):
            activation = json.loads((folder / file).read_text(encoding="utf-8")).get("activation_function") or "torch."
            if not activation.startswith("torch."):
                raise UnsupportedModelError(
                    f"{file} of {spec.name!r} names the activation {activation!r}, which is code of the model's own, and "
                    "that is never run"
                )


def _check_tensors(module: torch.nn.Module, spec: ModelSpec, folder: Path) -> None:
    prefix = f"{getattr(module, 'base_model_prefix', '')}."
    with safe_open(folder / "model.safetensors", framework="numpy") as file:
        names = file.keys()
        stored = {name.removeprefix(prefix): tuple(file.get_slice(name).get_shape()) for name in names}
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    faults = {
        "lacks": wanted.keys() - stored.keys(),
        "has, unaccounted for by config.json,": stored.keys() - wanted.keys(),
        "has in the wrong shape": {name for name in wanted.keys() & stored.keys() if wanted[name] != stored[name]},
    }
    for fault, names in faults.items():
        shown = sorted(filter(is_read, names))
        if shown:
            raise IntegrityError(f"model.safetensors of {spec.name!r} in {folder} {fault} {', '.join(shown[:5])}")


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
