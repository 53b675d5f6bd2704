"""The space fingerprint: a short name for the vector space that an embedder writes into."""

import hashlib
import json
from collections.abc import Mapping

from embedry.spec import ModelSpec


def space_fingerprint(
    spec: ModelSpec,
    digests: Mapping[str, str],
    *,
    dims: int,
    max_seq_length: int,
    normalize: bool,
    int8_calibration: str | None = None,
) -> str:
    """24 hex digits that change when anything that moves vectors changes, and only then.

    Args:
        spec: the entry; its names, licence and description are no part of the space.
        digests: path -> sha256 of the model's files.
        dims: length of the vectors.
        max_seq_length: tokens read of each text.
        normalize: whether vectors have unit length.
        int8_calibration: sha256 of the calibration, where precision is "int8": a space of its own. fp32, bf16 and fp16
            make vectors that may meet in one store, so that documents can be embedded on a GPU and questions on a CPU.

    Two embedders with one fingerprint may share a store; with different ones they may not.
    """
    parts = {
        "files": dict(digests),
        "pooling": spec.pooling,
        "modules": spec.modules,
        "prompts": {role: prompt for role, prompt in spec.prompts.items() if prompt},
        "dims": dims,
        "max_seq_length": max_seq_length,
        "normalize": normalize,
        "precision": "float" if int8_calibration is None else ["int8", int8_calibration],
    }
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:24]
