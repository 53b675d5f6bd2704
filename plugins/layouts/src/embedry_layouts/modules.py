"""One module of modules.json: which kind of module its class name stands for, and what its own files say."""

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
    """The last part of a class name of the library, empty for a class that is not the library's."""
    if not class_name.startswith(_LIBRARY):
        return ""
    last = class_name.rpartition(".")[2]
    return last if last not in _PACKAGES or class_name in set(_spellings(last)) else ""


def _spellings(last: str) -> Iterator[str]:
    """The whole names under which versions 0 to 6 of the library wrote one of its classes."""
    snake = re.sub("(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", last).lower()
    for package in _PACKAGES[last]:
        yield f"{_LIBRARY}{package}.{last}"
        yield f"{_LIBRARY}{package}.{last}.{last}"
        yield f"{_LIBRARY}{package}.{snake}.{last}"


def read(files: Files, class_name: str, path: str) -> tuple[Module, int | None]:
    """A module of an embedder that is no Transformer, and the width of its vectors; None where it does not change that, or
    does not say.

    Args:
        files: of the model.
        class_name: of the library, as modules.json has it.
        path: its folder.

    Raises:
        WeightsNotFoundError: its configuration is missing.
        IntegrityError: that cannot be parsed, or lacks a size.
        UnsupportedModelError: it asks for a pooling that is not known, or for code of its own.
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
    """A Pooling, and the width of its vectors.

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
    """A Dense, and those of its settings that an entry cannot say.

    Args:
        files: of the model.
        path: its folder.
        reads: what it has to read.
        writes: what it has to write.
        default: what it reads where its configuration does not say it.

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
    """What modules of the library that have no type here call the length of their vectors."""
    stated = files.read_or(config(path), dict[str, Any], {})
    widths = [stated.get(key) for key in ("out_features", "embedding_dim", "out_channels", "hidden_dim")]
    return next((width for width in widths if isinstance(width, int) and 0 < width < 2**31), None)
