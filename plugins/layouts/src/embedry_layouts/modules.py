"""Reads one module of modules.json: its kind and its files."""

import re
from collections.abc import Iterator
from typing import Any

from embedry.errors import IntegrityError, UnsupportedModelError
from embedry.modules import POOLINGS, Dense, LayerNorm, LibraryModule, Module, Normalize, Pooling
from embedry_layouts import static
from embedry_layouts.files import POOLING_SWITCHES, DenseFile, Files, NamesFile, PoolingFile

TEXT, TOKENS, SCORES = "sentence_embedding", "token_embeddings", "scores"
"""What modules read and write, by the library's names."""

_LIBRARY = "sentence_transformers."

_SHARED = ("models", "base.modules", "sentence_transformer.modules")
_SPARSE = ("sparse_encoder.models", "sparse_encoder.modules")
_PACKAGES = {
    **dict.fromkeys(
        ("Transformer", "Pooling", "Normalize", "Dense", "LayerNorm", "StaticEmbedding", "Dropout"), _SHARED
    ),
    **dict.fromkeys(("MLMTransformer", "SpladePooling", "SparseStaticEmbedding"), _SPARSE),
    "LogitScore": ("cross_encoder.modules",),
    "MultiVectorMask": ("multi_vector_encoder.modules",),
}
"""Classes of the library that an entry says in its own words -> the packages in which versions 0 to 6 have them."""

_ACTIVATIONS = {
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.GELU": "gelu",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
    "torch.nn.modules.activation.SiLU": "silu",
}
"""The names that Dense modules give their activations -> ours."""


def kind(class_name: str) -> str:
    """The last part of a class name of the library; empty for other classes."""
    if not class_name.startswith(_LIBRARY):
        return ""
    last = class_name.rpartition(".")[2]
    return last if last not in _PACKAGES or class_name in set(_spellings(last)) else ""


def _spellings(last: str) -> Iterator[str]:
    """The full names of a class in versions 0 to 6 of the library."""
    snake = re.sub("(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", last).lower()
    for package in _PACKAGES[last]:
        yield f"{_LIBRARY}{package}.{last}"
        yield f"{_LIBRARY}{package}.{last}.{last}"
        yield f"{_LIBRARY}{package}.{snake}.{last}"


def read(files: Files, class_name: str, path: str) -> tuple[Module, int | None]:
    """Reads a module other than Transformer, and the width of its vectors; None if it does not change or state the
    width.

    Args:
        files: the files of the model.
        class_name: the class name in modules.json.
        path: the folder of the module.

    Raises:
        WeightsNotFoundError: its configuration is missing.
        IntegrityError: its configuration cannot be parsed, or lacks a size.
        UnsupportedModelError: it requires an unknown pooling or remote code.
    """
    last = kind(class_name)
    if last == "Pooling":
        return pooling(files, path)
    if last == "Dense":
        found, others = dense(files, path)
        return LibraryModule(class_name=class_name, path=path) if others else found, found.outputs
    if last == "LayerNorm":
        return LayerNorm(path=path), None
    if last == "StaticEmbedding":
        return static.table(files, path)
    if last == "Normalize" and not files.read_or(config(path), NamesFile, NamesFile()).differing(TEXT, TEXT, TEXT):
        return Normalize(), None
    return LibraryModule(class_name=class_name, path=path), _library_width(files, path)


def config(path: str) -> str:
    """The configuration of the module in this folder."""
    return f"{path}/config.json" if path else "config.json"


def pooling(files: Files, path: str) -> tuple[Pooling, int]:
    """Reads a Pooling module, and the width of its vectors.

    Raises:
        As `read`.
    """
    settings = files.read(config(path), PoolingFile)
    if settings.pooling_mode is None:
        modes = [mode for switch, mode in POOLING_SWITCHES.items() if getattr(settings, switch)]
    else:
        modes = [settings.pooling_mode] if isinstance(settings.pooling_mode, str) else settings.pooling_mode
    modes = ["last" if mode == "lasttoken" else mode for mode in modes]
    if not modes or not set(modes) <= set(POOLINGS):
        raise UnsupportedModelError(
            f"{config(path)} in {files.folder} names no pooling that is known ({', '.join(POOLINGS)}), but "
            f"{', '.join(map(repr, modes)) or 'none'}"
        )
    width = settings.embedding_dimension or settings.word_embedding_dimension
    if width is None:
        raise IntegrityError(f"{config(path)} in {files.folder} does not state embedding_dimension")
    return Pooling(mode="+".join(modes), include_prompt=settings.include_prompt is not False), width * len(modes)


def dense(
    files: Files, path: str, *, reads: str = TEXT, writes: str = TEXT, default: str = TEXT
) -> tuple[Dense, dict[str, object]]:
    """Reads a Dense module, and those of its settings that an entry does not have.

    Args:
        files: the files of the model.
        path: the folder of the module.
        reads: its required input.
        writes: its required output.
        default: its default input.

    Raises:
        As `read`.
    """
    stated = files.read(config(path), DenseFile)
    if not stated.activation_function.startswith("torch."):
        raise files.of_code(config(path), "activation", stated.activation_function)
    others: dict[str, object] = dict(stated.differing(reads, writes, default))
    if stated.activation_function not in _ACTIVATIONS:
        others["activation_function"] = stated.activation_function
    if stated.use_residual:
        others["use_residual"] = True
    return Dense(
        path=path,
        inputs=stated.in_features,
        outputs=stated.out_features,
        activation=_ACTIVATIONS.get(stated.activation_function, "identity"),
        bias=stated.bias,
    ), others


def _library_width(files: Files, path: str) -> int | None:
    """The width of library modules that have no type here."""
    stated = files.read_or(config(path), dict[str, Any], {})
    widths = [stated.get(key) for key in ("out_features", "embedding_dim", "out_channels", "hidden_dim")]
    return next((width for width in widths if isinstance(width, int) and 0 < width < 2**31), None)
