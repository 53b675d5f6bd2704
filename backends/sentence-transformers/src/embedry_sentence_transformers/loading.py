"""Loading a model with sentence-transformers, strictly: safetensors only, no remote code, every tensor accounted for."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import LogRecord, getLogger
from pathlib import Path
from typing import Any, TypeVar

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as library
from sentence_transformers.util import import_from_string
from transformers.utils import logging

from embedry import EmbedryError, IntegrityError, ModelSpec, OptionError, UnsupportedModelError
from embedry.backend import is_failure, is_read, tensors
from embedry.modules import Dense, LayerNorm, LibraryModule, Normalize, Pooling, leaves_out_prompt

Module = TypeVar("Module", bound=torch.nn.Module)

_IMPORTED_IN = os.getpid()

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_ACTIVATIONS: dict[str, Callable[[], torch.nn.Module]] = {
    "identity": torch.nn.Identity,
    "tanh": torch.nn.Tanh,
    "relu": torch.nn.ReLU,
    "gelu": torch.nn.GELU,
    "sigmoid": torch.nn.Sigmoid,
    "silu": torch.nn.SiLU,
}


def model(spec: ModelSpec, folder: Path, device: str, precision: str) -> SentenceTransformer:
    """The transformer and the body of the chain as modules of the library.

    Args:
        spec: the entry.
        folder: holds its files and nothing else.
        device: "auto", or as torch names it.
        precision: a key of `DTYPES`.

    Raises:
        OptionError: torch does not find the device.
        IntegrityError: a tensor is missing, left over or of the wrong shape; the library itself would only mention it.
        UnsupportedModelError: the libraries have no code for this model, or only the model's own, which is never run.
    """
    if os.getpid() != _IMPORTED_IN:
        # In a forked child torch's own threads are gone, and it would wait for them for ever: it is to use none there.
        torch.set_num_threads(1)
    chosen = _found(device)
    try:
        with _silence():
            modules = _modules(spec, folder, precision)
            loaded = SentenceTransformer(modules=modules, device=chosen)
    except (torch.OutOfMemoryError, EmbedryError):
        raise
    except BaseException as error:  # for a config of odd values the libraries raise whatever comes
        if not is_failure(error):
            raise
        reason = str(error).partition("\n")[0]
        raise UnsupportedModelError(
            f"sentence-transformers cannot load {spec.name!r} with its own code, and code that comes with a model is "
            f"never run: {reason}"
        ) from error
    return loaded.eval().requires_grad_(False)


def takes_ids(spec: ModelSpec) -> bool:
    """Whether the model starts with a transformer over token ids and never looks back at the text."""
    return spec.transformer is not None and not leaves_out_prompt(spec.body)


def ignores_mask(spec: ModelSpec) -> bool:
    """Whether a module of the library's own works on token vectors: a convolution, say, takes padding for text."""
    poolings = [position for position, module in enumerate(spec.body) if isinstance(module, Pooling)]
    return any(isinstance(module, LibraryModule) for module in spec.body[: max(poolings, default=len(spec.body))])


def _found(device: str) -> str | None:
    if device == "auto":
        return None
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise OptionError(f"device={device!r} is not available: {error}") from error
    return device


def _modules(spec: ModelSpec, folder: Path, precision: str) -> list[torch.nn.Module]:
    found: list[torch.nn.Module] = []
    width = spec.dims
    if spec.transformer is not None:
        transformer = _transformer(spec, folder, precision)
        width = transformer.get_embedding_dimension()
        found.append(transformer)
    for module in spec.body:
        if isinstance(module, Pooling):
            modes = [{"last": "lasttoken"}.get(mode, mode) for mode in module.modes]
            found.append(library.Pooling(width, pooling_mode=modes, include_prompt=module.include_prompt))
        elif isinstance(module, Dense):
            dense = library.Dense(
                module.inputs, module.outputs, bias=module.bias, activation_function=_ACTIVATIONS[module.activation]()
            )
            found.append(_filled(dense, spec, folder, module.weights))
        elif isinstance(module, LayerNorm):
            norm = library.LayerNorm(_width(found, width))
            found.append(_filled(norm, spec, folder, module.weights) if module.weights else norm)
        elif isinstance(module, Normalize):
            found.append(library.Normalize())
        elif isinstance(module, LibraryModule):
            kind: Any = import_from_string(module.class_name)  # a name of the library itself: the core has looked
            found.append(kind.load(str(folder), subfolder=module.path, local_files_only=True, trust_remote_code=False))
    return found


def _transformer(spec: ModelSpec, folder: Path, precision: str) -> library.Transformer:
    assert spec.transformer is not None  # noqa: S101  asked for by the caller
    # What is left out here is read from the model's files, or asked on standard input: whether to run its code, for one.
    safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    options = safe | {
        "dtype": DTYPES[precision],
        "use_safetensors": True,
        "ignore_mismatched_sizes": True,  # they are refused below, by their names
        "attn_implementation": None,  # the library's own choice; config.json could name a kernel to fetch and import
    }
    if not (folder / spec.transformer.file("tokenizer_config.json")).exists():
        # The library wants a tokenizer, though only token ids will come: one that is as tokenizer.json says.
        settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
        (folder / spec.transformer.file("tokenizer_config.json")).write_text(json.dumps(settings), encoding="utf-8")
    made: library.Transformer = library.Transformer(
        str(folder / spec.transformer.path),
        max_seq_length=spec.max_seq_length,
        do_lower_case=spec.transformer.lower_case,
        model_kwargs=options,
        processor_kwargs=dict(safe),
        config_kwargs=dict(safe),
    )
    stored: dict[str, tuple[int, ...]] = {}
    prefix = f"{getattr(made.model, 'base_model_prefix', '')}."
    for file in spec.weights:
        stored |= {name.removeprefix(prefix): tensor.shape for name, tensor in tensors(folder / file).items()}
    _compare(made.model, stored, f"{', '.join(spec.weights)} of {spec.name!r}")
    return made


def _width(modules: list[Any], width: int) -> int:
    """The width of what the last of these modules gives."""
    widths = [each.get_embedding_dimension() for each in modules if hasattr(each, "get_embedding_dimension")]
    return widths[-1] if widths else width


def _filled(module: Module, spec: ModelSpec, folder: Path, file: str) -> Module:
    """A module with the weights in a file, which must hold exactly those it has."""
    stored = tensors(folder / file)
    shapes = {name: tensor.shape for name, tensor in stored.items()}
    _compare(module, shapes, f"{file} of {spec.name!r}")
    module.load_state_dict({name: torch.tensor(tensor.values()) for name, tensor in stored.items()})
    return module


def _compare(module: torch.nn.Module, stored: dict[str, tuple[int, ...]], path: str) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    faults = {
        "lacks": wanted.keys() - stored.keys(),
        "has, unaccounted for by its configuration,": stored.keys() - wanted.keys(),
        "has in the wrong shape": {name for name in wanted.keys() & stored.keys() if wanted[name] != stored[name]},
    }
    for fault, names in faults.items():
        shown = sorted(filter(is_read, names))
        if shown:
            raise IntegrityError(f"{path} {fault} {', '.join(shown[:5])}")


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
