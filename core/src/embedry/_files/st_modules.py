"""One module of modules.json: which kind of module its class name stands for, and what its own files say."""

from collections.abc import Iterator
from typing import Any

from embedry._files import static_files
from embedry._files.st_files import POOLING_SWITCHES, DenseFile, Files, NamesFile, PoolingFile
from embedry.errors import IntegrityError, UnsupportedModelError
from embedry.modules import POOLINGS, Dense, LayerNorm, LibraryModule, Module, Normalize, Pooling

_LIBRARY = "sentence_transformers."

_TYPED = ("Transformer", "Pooling", "Normalize", "Dense", "LayerNorm", "StaticEmbedding", "Dropout")
"""Classes of the library that an entry says in its own words."""

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
    return last if class_name in set(_spellings(last)) or last not in _TYPED else ""


def _spellings(last: str) -> Iterator[str]:
    """The whole names under which versions 0 to 6 of the library wrote one of its classes."""
    snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in last).lstrip("_")
    for package in ("models", "base.modules", "sentence_transformer.modules"):
        yield f"{_LIBRARY}{package}.{last}"
        yield f"{_LIBRARY}{package}.{last}.{last}"
        yield f"{_LIBRARY}{package}.{snake}.{last}"


def read(files: Files, class_name: str, path: str) -> tuple[Module, int | None]:
    """A module that is no Transformer, and the width of its vectors; None where it does not change that, or does not say.

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
        return _pooling(files, path)
    if last == "Dense":
        return _dense(files, class_name, path)
    if last == "LayerNorm":
        return LayerNorm(path=path), None
    if last == "StaticEmbedding":
        return static_files.table(files, path)
    if last == "Normalize" and files.read_or(_config(path), NamesFile, NamesFile()).of_text:
        return Normalize(), None
    return LibraryModule(class_name=class_name, path=path), _library_width(files, path)


def _config(path: str) -> str:
    return f"{path}/config.json" if path else "config.json"


def _pooling(files: Files, path: str) -> tuple[Pooling, int]:
    settings = files.read(_config(path), PoolingFile)
    if settings.pooling_mode is None:
        modes = [mode for switch, mode in POOLING_SWITCHES.items() if getattr(settings, switch)]
    else:
        modes = [settings.pooling_mode] if isinstance(settings.pooling_mode, str) else settings.pooling_mode
    modes = ["last" if mode == "lasttoken" else mode for mode in modes]
    if not modes or not set(modes) <= set(POOLINGS):
        raise UnsupportedModelError(
            f"{_config(path)} in {files.folder} names no pooling that is known ({', '.join(POOLINGS)}), but "
            f"{', '.join(map(repr, modes)) or 'none'}"
        )
    width = settings.embedding_dimension or settings.word_embedding_dimension
    if width is None:
        raise IntegrityError(f"{_config(path)} in {files.folder} does not state embedding_dimension")
    return Pooling(mode="+".join(modes), include_prompt=settings.include_prompt is not False), width * len(modes)


def _dense(files: Files, class_name: str, path: str) -> tuple[Module, int]:
    stated = files.read(_config(path), DenseFile)
    if not stated.activation_function.startswith("torch."):
        raise UnsupportedModelError(
            f"{_config(path)} in {files.folder} names the activation {stated.activation_function!r}: the model needs "
            "code of its own, and embedry never runs code that comes with a model"
        )
    activation = _ACTIVATIONS.get(stated.activation_function)
    if activation is None or stated.use_residual or not stated.of_text:
        return LibraryModule(class_name=class_name, path=path), stated.out_features
    sizes = {"inputs": stated.in_features, "outputs": stated.out_features}
    return Dense(path=path, **sizes, activation=activation, bias=stated.bias), stated.out_features


def _library_width(files: Files, path: str) -> int | None:
    """What modules of the library that have no type here call the length of their vectors."""
    stated = files.read_or(_config(path), dict[str, Any], {})
    widths = [stated.get(key) for key in ("out_features", "embedding_dim", "out_channels", "hidden_dim")]
    return next((width for width in widths if isinstance(width, int) and 0 < width < 2**31), None)
