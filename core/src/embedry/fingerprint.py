"""The fingerprint of a vector space: a short name for it, made of everything that decides an embedder's vectors."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from embedry import modules
from embedry.modules import Chain
from embedry.spec import PROMPT_NAMES, ModelSpec
from embedry.transformer import Transformer

_FORMAT = 1
"""Of what a fingerprint is made of."""


def space_fingerprint(
    spec: ModelSpec,
    digests: Mapping[str, str],
    *,
    chain: Chain,
    max_seq_length: int,
    int8_calibration: str | None = None,
) -> str:
    """24 hex digits that change when anything that moves vectors changes: equal fingerprints mean equal vectors.

    They may also change where vectors do not, with a file that was only saved again. From version 0.2 on the fingerprint of
    an entry stays the same from version to version: fields with their default value are left out, and a change of the form
    would raise `_FORMAT`.

    Args:
        spec: the entry; its names, licence and description are no part of the space.
        digests: path -> sha256 of the model's files.
        chain: the entry's chain as `dims` and `normalize` changed it.
        max_seq_length: tokens read of each text.
        int8_calibration: sha256 of the calibration, where precision is "int8": a space of its own. fp32, bf16 and fp16
            make vectors that may meet in one store, so that documents can be embedded on a GPU and queries on a CPU.
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
    """How texts are read, where that differs from what tokenizer.json says. Where the files are does not matter."""
    values = modules.stated(transformer)
    values.pop("path", None)
    if transformer.normalizer is not None:
        values["normalizer"] = {"type": "bert", **modules.stated(transformer.normalizer)}
    if transformer.pair is not None:
        values["pair"] = modules.stated(transformer.pair)
    return values
