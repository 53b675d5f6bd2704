"""Checks that a model's files are consistent with each other and with its entry, before an engine loads them."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

from embedry import chains
from embedry._config import ModelConfig
from embedry._files import digests
from embedry.errors import IntegrityError
from embedry.modules import Dense, StaticEmbedding
from embedry.spec import ModelSpec

_RULES = 4
"""Raised whenever what is refused here, or in the modules that are asked, changes: answers of older rules are not believed."""


def check(spec: ModelSpec, folder: Path, *, cache_dir: Path) -> ModelConfig | None:
    """The transformer's config.json, once it is known to fit the entry, the tokenizer and the weights.

    Args:
        spec: the entry.
        folder: holds its files, verified.
        cache_dir: where what was found once is remembered.

    Raises:
        IntegrityError: a file cannot be parsed, or two contradict each other; names both, with the values.
        UnsupportedModelError: a file asks for what nobody may run, such as code of its own.
    """
    for file in spec.files:
        if file.endswith("config.json"):
            digests.remembered(folder / file, cache_dir, f"code, {_RULES}", partial(_without_code, folder, file))
        if file.endswith(".safetensors"):
            digests.remembered(folder / file, cache_dir, f"types, {_RULES}", _types)
    first = spec.chain[0]
    if isinstance(first, StaticEmbedding):
        _check_table(spec, first, folder, cache_dir)
    if spec.transformer is None:
        return None
    file = spec.transformer.file("config.json")
    config = _config(folder, file, cache_dir)
    where = f"{file} of {spec.name!r}"
    if config.architecture != spec.architecture:
        raise IntegrityError(f"{where} is of a {config.architecture!r}, the entry says {spec.architecture!r}")
    _check_width(spec, config, where)
    if config.vocab_size is not None:
        tokenizer = folder / spec.transformer.file("tokenizer.json")
        _check_token_ids(spec, config.pad_token_id, config.vocab_size, tokenizer, cache_dir)
    if None in spec.files.values():  # what has digests is what the entry's author tried
        from embedry._files import sizes

        sizes.check(spec, folder, config)
    return config


def _check_token_ids(spec: ModelSpec, pad_id: int, rows: int, tokenizer: Path, cache_dir: Path) -> None:
    """Every token id must have a row in the table of token vectors."""
    greatest = int(digests.remembered(tokenizer, cache_dir, f"greatest token id, {_RULES}", _greatest_token_id))
    for name, token in (("tokenizer.json has the token id", greatest), ("pad_token_id is", pad_id)):
        if token >= rows:
            raise IntegrityError(
                f"{name} {token}, and the table of {spec.name!r} has rows for 0 to {rows - 1}: the files are of two different "
                "models"
            )


def _check_table(spec: ModelSpec, module: StaticEmbedding, folder: Path, cache_dir: Path) -> None:
    """Every token id must have a row in the table, or in the table that says which row it has."""
    rows = int(
        digests.remembered(
            folder / module.weights, cache_dir, f"rows of {module.tensor}, {_RULES}", partial(_rows, module.tensor)
        )
    )
    _check_token_ids(spec, 0, rows, folder / module.tokenizer, cache_dir)


def _check_width(spec: ModelSpec, config: ModelConfig, where: str) -> None:
    """The vectors of the transformer must fit its heads, and the first module that says what it takes, or the entry's dims."""
    if config.hidden_size is None:
        return
    if config.num_attention_heads and config.hidden_size % config.num_attention_heads:
        raise IntegrityError(
            f"{where} has a hidden_size of {config.hidden_size}, which its {config.num_attention_heads} attention heads do not "
            "divide"
        )
    if (
        config.num_attention_heads
        and config.num_key_value_heads
        and config.num_attention_heads % config.num_key_value_heads
    ):
        raise IntegrityError(
            f"{where} has {config.num_attention_heads} attention heads, which do not share {config.num_key_value_heads} heads of "
            "keys and values evenly"
        )
    if config.rope_theta is not None and config.head_dim is not None and config.head_dim % 2:
        raise IntegrityError(f"{where} has heads of {config.head_dim} channels, which rotary positions take in pairs")
    *before, last = chains.widths(spec.chain, config.hidden_size)
    for module, width in zip(spec.chain, before, strict=True):
        if isinstance(module, Dense):
            _check_fits(where, width, module.inputs)
    _check_fits(where, last, spec.dims)


def _check_fits(where: str, width: int | None, wanted: int) -> None:
    if width not in (None, wanted):
        raise IntegrityError(f"{where} gives vectors of {width} after pooling, and {wanted} are expected")


# What was found out once is remembered, so that a start that has seen the files before neither reads them nor imports what
# parses them.


def _config(folder: Path, file: str, cache_dir: Path) -> ModelConfig:
    parsed = digests.remembered(folder / file, cache_dir, f"config, {_RULES}", partial(_parsed_config, folder, file))
    values = json.loads(parsed)
    return ModelConfig(**values | {"local_layers": tuple(values["local_layers"])})


def _parsed_config(folder: Path, file: str, path: Path) -> str:
    from embedry._files import model_config

    text = json.dumps(asdict(model_config.read(folder, file)), separators=(",", ":"))
    return text.replace(" ", "\\u0020")  # a remembered answer has no spaces; in JSON they only stand inside strings


def _without_code(folder: Path, file: str, path: Path) -> str:
    from embedry._files import parsing

    parsing.refuse_code(folder, file)
    return "none"


def _types(path: Path) -> str:
    from embedry._files import weights

    weights.check_types(path)
    return "float"


def _rows(tensor: str, path: Path) -> str:
    from embedry._files.weights import tensors

    stored = tensors(path)
    shares = stored.get("mapping") if tensor == "embeddings" else None  # model2vec's: each token's row
    table = shares if shares is not None else stored.get(tensor)
    if table is None or not table.shape:
        raise IntegrityError(f"{path} has no table {tensor!r}; it has {', '.join(sorted(stored)) or 'nothing'}")
    return str(table.shape[0])


def _greatest_token_id(path: Path) -> str:
    from embedry._files.tokenizer_file import greatest_id

    return str(greatest_id(path))
