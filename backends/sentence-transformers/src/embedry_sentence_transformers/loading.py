"""Loading a model with sentence-transformers, strictly: safetensors only, no remote code, every tensor accounted for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import sentence_transformers
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as library
from sentence_transformers.util import import_from_string
from transformers import PreTrainedModel

from embedry import ModelSpec
from embedry import Transformer as TransformerFiles
from embedry.backend import LoadRequest
from embedry.chains import leaves_out_prompt
from embedry.modules import Dense, LayerNorm, LibraryModule, Normalize, Pooling
from embedry_torch.loading import DTYPES, STRICT, accounted, device, module_weights, refused_by

Module = TypeVar("Module", bound=torch.nn.Module)

_LIBRARY = f"sentence-transformers {sentence_transformers.__version__}"

_ACTIVATIONS: dict[str, Callable[[], torch.nn.Module]] = {
    "identity": torch.nn.Identity,
    "tanh": torch.nn.Tanh,
    "relu": torch.nn.ReLU,
    "gelu": torch.nn.GELU,
    "sigmoid": torch.nn.Sigmoid,
    "silu": torch.nn.SiLU,
}


def model(request: LoadRequest, folder: Path) -> SentenceTransformer:
    """The transformer and the body of the chain as modules of the library.

    Args:
        request: what to load, and how.
        folder: see `embedry_torch.configs.files`.

    Raises:
        OptionError: torch does not find the device.
        IntegrityError: a tensor is missing, left over or of the wrong shape; the library itself would only mention it.
        UnsupportedModelError: the libraries have no code for this model, or only the model's own, which is never run.
    """
    place = device(request.device)
    with refused_by(_LIBRARY, request.spec):
        loaded = SentenceTransformer(modules=_modules(request, folder), device=str(place))
    return loaded.eval().requires_grad_(False)


def takes_ids(spec: ModelSpec) -> bool:
    """Whether the model starts with a transformer over token ids and never looks back at the text."""
    return spec.transformer is not None and not leaves_out_prompt(spec.body)


def ignores_mask(spec: ModelSpec) -> bool:
    """Whether a module of the library's own works on token vectors: a convolution, say, takes padding for text."""
    poolings = [position for position, module in enumerate(spec.body) if isinstance(module, Pooling)]
    return any(isinstance(module, LibraryModule) for module in spec.body[: max(poolings, default=len(spec.body))])


def _modules(request: LoadRequest, folder: Path) -> list[torch.nn.Module]:
    spec = request.spec
    found: list[torch.nn.Module] = []
    width = spec.dims
    if spec.transformer is not None:
        transformer = _transformer(request, folder / spec.transformer.path, spec.transformer)
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


def _transformer(request: LoadRequest, place: Path, described: TransformerFiles) -> library.Transformer:

    class Transformer(library.Transformer):
        """The library's module, with a model whose tensors are accounted for."""

        def _load_model(self, *args: Any, **options: Any) -> PreTrainedModel:
            found: Any = super()._load_model(*args, **options)
            loaded, report = found  # as `output_loading_info` asks for
            accounted(loaded, report, request)
            model: PreTrainedModel = loaded
            return model

    if not (place / "tokenizer_config.json").exists():
        # The library wants a tokenizer, though only token ids will come: one that is as tokenizer.json says.
        settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
        (place / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    safe = {"trust_remote_code": False, "local_files_only": True}
    made: library.Transformer = Transformer(
        str(place),
        max_seq_length=request.spec.max_seq_length,
        do_lower_case=described.lower_case,
        model_kwargs=STRICT | {"dtype": DTYPES[request.precision or "fp32"]},
        processor_kwargs=dict(safe),
        config_kwargs=dict(safe),
    )
    return made


def _width(modules: list[Any], width: int) -> int:
    """The width of what the last of these modules gives."""
    widths = [each.get_embedding_dimension() for each in modules if hasattr(each, "get_embedding_dimension")]
    return widths[-1] if widths else width


def _filled(module: Module, spec: ModelSpec, folder: Path, file: str) -> Module:
    """A module with the weights in a file, which must hold exactly those it has."""
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    module.load_state_dict(module_weights(spec, folder, file, shapes))
    return module
