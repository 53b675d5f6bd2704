"""The fingerprint of a vector space: a hash of everything that determines an embedder's vectors."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from embedry import modules
from embedry.modules import Chain
from embedry.spec import PROMPT_NAMES, ModelSpec
from embedry.transformer import Transformer

_FORMAT = 1
"""The version of the hashed data."""


def space_fingerprint(
    spec: ModelSpec,
    digests: Mapping[str, str],
    *,
    chain: Chain,
    max_seq_length: int,
    int8_calibration: str | None = None,
) -> str:
    """24 hex digits that change with anything that changes vectors: equal fingerprints mean equal vectors.

    They may also change without a change of vectors, for example if a file was only saved again. From version 0.2 on, the
    fingerprint of an entry does not change between versions: fields with default values are left out, and a change of the
    hashed data would increase `_FORMAT`.

    Args:
        spec: the entry; its names, license and description are not part of the space.
        digests: path -> sha256 of the model's files.
        chain: the entry's chain with the changes of `dims` and `normalize`.
        max_seq_length: the maximum number of tokens of a text.
        int8_calibration: sha256 of the calibration if precision is "int8", which has a separate space. fp32, bf16 and fp16
            share a space, so documents can be embedded on a GPU and queries on a CPU.
    """
    roles = dict.fromkeys((*PROMPT_NAMES, *spec.prompts))
    parts: dict[str, Any] = {
        "format": _FORMAT,
        "files": dict(digests),
        "chain": [modules.as_dict(module) for module in chain],
        "max_seq_length": max_seq_length,
    }
    optional = {
        "prompts": {role: spec.prompt(role) for role in roles if spec.prompt(role)},
        "transformer": _reading(spec.transformer) if spec.transformer is not None else None,
        "onnx": spec.onnx,
        "int8": int8_calibration,
        "queries": [modules.as_dict(module) for module in spec.query_chain],
    }
    parts |= {name: value for name, value in optional.items() if value}
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _reading(transformer: Transformer) -> dict[str, Any]:
    """The tokenization settings that differ from tokenizer.json, without the location of the files."""
    values = modules.stated(transformer)
    values.pop("path", None)
    if transformer.normalizer is not None:
        values["normalizer"] = {"type": "bert", **modules.stated(transformer.normalizer)}
    if transformer.pair is not None:
        values["pair"] = modules.stated(transformer.pair)
    return values
