"""Loads a model with sentence-transformers strictly: safetensors only, no remote code, every tensor accounted for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import sentence_transformers
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.transformer import TransformerTask
from sentence_transformers.cross_encoder import modules as reranking
from sentence_transformers.sentence_transformer import modules as library
from sentence_transformers.sparse_encoder import modules as sparse
from sentence_transformers.util import import_from_string
from transformers import PreTrainedModel

from embedry import ModelSpec, UnsupportedModelError
from embedry import Transformer as TransformerFiles
from embedry.backend import LoadRequest
from embedry.chains import leaves_out_prompt
from embedry.heads import Classifier, LogitScore, MaskedLM, SpladePooling
from embedry.modules import Dense, LayerNorm, LibraryModule, Module, Normalize, Pooling
from embedry_torch.loading import DTYPES, STRICT, accounted, device, module_weights, refused_by

Filled = TypeVar("Filled", bound=torch.nn.Module)

_LIBRARY = f"sentence-transformers {sentence_transformers.__version__}"

_ACTIVATIONS: dict[str, Callable[[], torch.nn.Module]] = {
    "identity": torch.nn.Identity,
    "tanh": torch.nn.Tanh,
    "relu": torch.nn.ReLU,
    "gelu": torch.nn.GELU,
    "sigmoid": torch.nn.Sigmoid,
    "silu": torch.nn.SiLU,
}

_TASKS: dict[type[Module], TransformerTask] = {
    Classifier: "sequence-classification",
    LogitScore: "text-generation",
    MaskedLM: "fill-mask",
}
"""Modules that are a head among the transformer's own tensors -> what the library calls a transformer with such a one."""

_IN_TRANSFORMER = (Classifier, MaskedLM)
"""Those that are no more than that."""


def model(request: LoadRequest, folder: Path) -> SentenceTransformer:
    """Loads the transformer and the body of the chain as modules of the library.

    Args:
        request: the model and its settings.
        folder: see `embedry_torch.configs.files`.

    Raises:
        OptionError: torch does not find the device.
        IntegrityError: a tensor is missing, left over or of the wrong shape; the library itself only logs it.
        UnsupportedModelError: the libraries do not support this model, or only with remote code, which never runs.
    """
    place = device(request.device)
    with refused_by(_LIBRARY, request.spec):
        loaded = SentenceTransformer(modules=_modules(request, folder), device=str(place))
    return loaded.eval().requires_grad_(False)


def takes_ids(spec: ModelSpec) -> bool:
    """Whether the model starts with a transformer over token ids and does not use the text again."""
    return spec.transformer is not None and not leaves_out_prompt(spec.body)


def vectors_name(spec: ModelSpec) -> str:
    """The library's name for the vectors between the modules of this model."""
    return "token_embeddings" if spec.kind == "multi_vector" else "sentence_embedding"


def results_name(spec: ModelSpec) -> str:
    """The library's name for the results of this model's body."""
    return "scores" if any(isinstance(module, Classifier | LogitScore) for module in spec.body) else vectors_name(spec)


def ignores_mask(spec: ModelSpec) -> bool:
    """Whether padding would change results.

    Library modules over token vectors, such as a convolution, treat padding as text. LogitScore would treat it as the last token of a
    text; the library therefore pads on the left.
    """
    if any(isinstance(module, LogitScore) for module in spec.body):
        return True
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
        if type(module) not in _IN_TRANSFORMER:
            found.append(_module(module, spec, folder, _width(found, width)))
    return found


def _module(module: Module, spec: ModelSpec, folder: Path, width: int) -> torch.nn.Module:
    """A module of the library.

    Args:
        module: a module of the body that is not part of the transformer's class.
        spec: the model's entry.
        folder: the folder with the model's files.
        width: the width of its inputs.
    """
    if isinstance(module, Pooling):
        modes = [{"last": "lasttoken"}.get(mode, mode) for mode in module.modes]
        pooling: torch.nn.Module = library.Pooling(width, pooling_mode=modes, include_prompt=module.include_prompt)
        return pooling
    if isinstance(module, Dense):
        activation = _ACTIVATIONS[module.activation]()
        dense = library.Dense(
            module.inputs, module.outputs, module.bias, activation, module_input_name=vectors_name(spec)
        )
        return _filled(dense, spec, folder, module.weights)
    if isinstance(module, LayerNorm):
        norm = library.LayerNorm(width)
        return _filled(norm, spec, folder, module.weights) if module.weights else norm
    if isinstance(module, Normalize):
        return library.Normalize(module_input_name=vectors_name(spec))
    if isinstance(module, SpladePooling):
        return sparse.SpladePooling(module.strategy, module.activation)
    if isinstance(module, LogitScore):
        return reranking.LogitScore(module.true_token, module.false_token)
    if isinstance(module, LibraryModule):
        kind: Any = import_from_string(module.class_name)  # a name of the library itself: the core has looked
        safe = {"trust_remote_code": False, "local_files_only": True}
        loaded: torch.nn.Module = kind.load(str(folder), subfolder=module.path, **safe)
        return loaded
    raise UnsupportedModelError(f"{module} is not a module that this backend runs")


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
        # The library requires a tokenizer, although only token ids are passed.
        settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
        (place / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    safe = {"trust_remote_code": False, "local_files_only": True}
    head = next((module for module in request.spec.body if type(module) in _TASKS), None)
    labels = {"num_labels": head.labels} if isinstance(head, Classifier) else {}
    made: library.Transformer = Transformer(
        str(place),
        transformer_task=_TASKS[type(head)] if head is not None else "feature-extraction",
        max_seq_length=request.spec.max_seq_length,
        do_lower_case=described.lower_case,
        model_kwargs=STRICT | {"dtype": DTYPES[request.precision or "fp32"]},
        processor_kwargs=dict(safe),
        config_kwargs=safe | labels,
    )
    return made


def _width(modules: list[Any], width: int) -> int:
    """The output width of the last of these modules."""
    widths = [each.get_embedding_dimension() for each in modules if hasattr(each, "get_embedding_dimension")]
    return widths[-1] if widths else width


def _filled(module: Filled, spec: ModelSpec, folder: Path, file: str) -> Filled:
    """The module with the weights from a file, which must contain exactly its tensors."""
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    module.load_state_dict(module_weights(spec, folder, file, shapes))
    return module
