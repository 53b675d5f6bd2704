"""Answers in JSON: the vectors, and headers that say how they were made."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.responses import Response

from embedry.errors import some
from embedry_server.computing import Computed, Read

_MOST_POSITIONS = 100
"""Truncated inputs that the header names; longer headers do not pass every proxy."""


class Json(Response):
    """An answer of bytes that are JSON already."""

    media_type = "application/json"


def as_json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Json:
    """An answer of plain values and float32 arrays, whose numbers are written as short as they can be."""
    return Json(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), status, headers)


def embeddings(vectors: NDArray[np.float32], model: str, tokens: Sequence[int], *, as_base64: bool) -> bytes:
    """The body of an answer of OpenAI's API; base64 is of float32 in little-endian order."""
    rows: Sequence[Any] = list(vectors)
    if as_base64:
        rows = [base64.b64encode(row.astype("<f4", copy=False).tobytes()).decode() for row in vectors]
    total = sum(tokens)
    return orjson.dumps(
        {
            "object": "list",
            "data": [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)],
            "model": model,
            "usage": {"prompt_tokens": total, "total_tokens": total},
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


def rows(vectors: NDArray[np.float32]) -> bytes:
    """The vectors alone, as text-embeddings-inference gives them."""
    return orjson.dumps(vectors, option=orjson.OPT_SERIALIZE_NUMPY)


def headers(read: Read, read_seconds: float, computed: Computed) -> dict[str, str]:
    """What is told of how vectors were made."""
    found = {
        "embedry-role": read.role,
        "embedry-space": read.model.space_of(read.view),
        "server-timing": f"read;dur={1e3 * read_seconds:.1f}, queue;dur={1e3 * computed.queued:.1f}, "
        f"compute;dur={1e3 * computed.seconds:.1f}",
    }
    if read.prepared.truncated:
        found["embedry-truncated"] = some(read.prepared.truncated, _MOST_POSITIONS)
    return found
