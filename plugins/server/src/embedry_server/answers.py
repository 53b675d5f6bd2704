"""JSON responses: the results for texts, and headers that describe how they were computed."""

import base64
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.responses import Response

from embedry import SparseVectors, TokenVectors
from embedry.errors import some
from embedry_server.computing import Computed, Read

_MOST_POSITIONS = 100
"""Truncated inputs that the header names; longer headers do not pass every proxy."""


class Json(Response):
    """A response whose body is already JSON."""

    media_type = "application/json"


def as_json(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Json:
    """A response of plain values and float32 arrays; numbers use the shortest exact form."""
    return Json(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), status, headers)


def embeddings(vectors: NDArray[np.float32], model: str, tokens: int, *, as_base64: bool) -> bytes:
    """The response body of OpenAI's API; base64 encodes little-endian float32."""
    return orjson.dumps(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "index": index, "embedding": _as_base64(row) if as_base64 else row}
                for index, row in enumerate(vectors)
            ],
            "model": model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


def _as_base64(row: NDArray[np.float32]) -> str:
    return base64.b64encode(row.astype("<f4", copy=False).tobytes()).decode()


def rows(vectors: NDArray[np.float32]) -> bytes:
    """The vectors alone, in the format of text-embeddings-inference."""
    return orjson.dumps(vectors, option=orjson.OPT_SERIALIZE_NUMPY)


def token_rows(vectors: TokenVectors) -> bytes:
    """The vectors of each text's tokens, in the format of text-embeddings-inference."""
    return orjson.dumps(list(vectors), option=orjson.OPT_SERIALIZE_NUMPY)


def terms(vectors: SparseVectors) -> bytes:
    """The terms of each text and their weights, in the format of text-embeddings-inference."""
    return orjson.dumps(
        [
            [{"index": index, "value": value} for index, value in zip(indices.tolist(), values, strict=True)]
            for indices, values in vectors
        ],
        option=orjson.OPT_SERIALIZE_NUMPY,
    )


def size(result: Any) -> int:
    """The size of the numbers in a result, in bytes."""
    numbers = result.values if isinstance(result, SparseVectors | TokenVectors) else result
    return int(numbers.nbytes)


def headers(read: Read, read_seconds: float, computed: Computed) -> dict[str, str]:
    """The response headers that describe how the results were computed."""
    found = {
        "embedry-role": read.role,
        "embedry-space": read.model.space_of(read.view),
        "server-timing": f"read;dur={1e3 * read_seconds:.1f}, queue;dur={1e3 * computed.queued:.1f}, "
        f"compute;dur={1e3 * computed.seconds:.1f}",
    }
    if read.truncated:
        found["embedry-truncated"] = some(read.truncated, _MOST_POSITIONS)
    return found
