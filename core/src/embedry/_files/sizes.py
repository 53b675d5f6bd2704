"""Checks that a model's tensors have the sizes in its configuration, from the headers of its weights.

Engines find most mismatches too, but some only after they have allocated tensors of the stated sizes: a configuration of a
few bytes could require all memory, or a billion layers.
"""

from collections.abc import Mapping
from pathlib import Path

from embedry import chains
from embedry._config import ModelConfig
from embedry._files.architectures import READINGS
from embedry._files.weights import Tensor, tensors
from embedry.errors import IntegrityError
from embedry.modules import Dense, LayerNorm
from embedry.spec import ModelSpec

_TABLES = {
    "embeddings.word_embeddings.weight": "vocab_size",
    "embeddings.tok_embeddings.weight": "vocab_size",
    "embed_tokens.weight": "vocab_size",
    "shared.weight": "vocab_size",
    "embeddings.position_embeddings.weight": "max_position_embeddings",
    "embeddings.token_type_embeddings.weight": "type_vocab_size",
}
"""Ends of names -> what config.json calls the number of rows, in families whose tables are as wide as the token vectors."""

_LENGTHS = ("hidden_size", "intermediate_size", "vocab_size")
"""What is an axis of some tensor in every family."""

_MOST = {"max_position_embeddings": 2**18, "head_dim": 1024, "relative_attention_max_distance": 2**16}
"""What engines make tables of, and no axis of a tensor has to be equal to -> the most that is believed. Gemma 3 states 131,072
positions and heads of 256 channels, T5 distances of 128."""


def check(spec: ModelSpec, folder: Path, config: ModelConfig) -> None:
    """Compares stated sizes with those of the tensors.

    Args:
        spec: the entry; its modules state sizes too.
        folder: holds its files.
        config: config.json of the transformer.

    Raises:
        IntegrityError: they differ; names the tensor with its shape and the stated one, or the key that no tensor fits.
    """
    found: dict[str, Tensor] = {}
    for file in spec.weights:
        found |= tensors(folder / file)
    _check_modules(spec, folder, config.hidden_size, found)
    if not found:  # an entry with an ONNX file of its own
        return
    where = ", ".join(spec.weights)
    if config.architecture in READINGS:
        _check_tables(found, config)
        for key, most in _MOST.items():
            if (getattr(config, key) or 0) > most:
                raise IntegrityError(
                    f"config.json of {spec.name!r} says {key}={getattr(config, key)}, and no {config.architecture!r} has more "
                    f"than {most}"
                )
    longest = max((max(tensor.shape, default=1) for tensor in found.values()), default=0)
    for key in _LENGTHS:
        stated = getattr(config, key) or 0
        if stated > longest:
            raise IntegrityError(
                f"config.json of {spec.name!r} says {key}={stated}, and the longest axis of a tensor in {where} has {longest}"
            )
    if (config.num_hidden_layers or 0) > len(found):
        raise IntegrityError(
            f"config.json of {spec.name!r} says num_hidden_layers={config.num_hidden_layers}, and {where} has only "
            f"{len(found)} tensors"
        )


def _check_tables(found: Mapping[str, Tensor], config: ModelConfig) -> None:
    for name, tensor in found.items():
        key = next((key for end, key in _TABLES.items() if name.endswith(end)), None)
        if key is None:
            continue
        stated = (getattr(config, key), config.hidden_size)
        if not stated[0]:
            raise IntegrityError(f"config.json says {key}=0, and the table {name!r} of {tensor.path} must have a row")
        if tensor.shape != stated:
            raise IntegrityError(
                f"the tensor {name!r} of {tensor.path} is {tensor.shape}, and config.json says {stated} ({key}, hidden_size)"
            )


def _check_modules(spec: ModelSpec, folder: Path, tokens: int | None, own: Mapping[str, Tensor]) -> None:
    """Compares the weights of each module.

    Args:
        spec: the entry.
        folder: holds its files.
        tokens: the width of a token vector, None where nothing says it.
        own: the transformer's tensors, among which those of a Dense without a path are.
    """
    *before, _ = chains.widths(spec.chain, tokens)
    for module, width in zip(spec.chain, before, strict=True):
        stated: dict[str, tuple[int, ...]] = {}
        if isinstance(module, Dense):
            stated = {"linear.weight": (module.outputs, module.inputs)}
            stated |= {"linear.bias": (module.outputs,)} if module.bias else {}
        elif isinstance(module, LayerNorm) and module.weights and width is not None:
            stated = {"norm.weight": (width,), "norm.bias": (width,)}
        if stated and isinstance(module, Dense | LayerNorm):
            where = module.weights or ", ".join(spec.weights)
            _check_shapes(f"{where} of {spec.name!r}", tensors(folder / where) if module.weights else own, stated)


def _check_shapes(where: str, found: Mapping[str, Tensor], stated: Mapping[str, tuple[int, ...]]) -> None:
    for name, shape in stated.items():
        if name not in found:
            raise IntegrityError(f"{where} has no tensor {name!r}; it has {', '.join(sorted(found)[:5]) or 'none'}")
        if found[name].shape != shape:
            raise IntegrityError(
                f"{where} has the tensor {name!r} in the shape {found[name].shape}, and the model's files say {shape}"
            )
