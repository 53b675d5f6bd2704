"""Encodings of stored vectors: float32 or fewer bits. The space stays the same; the file's metadata states the encoding."""

import json
from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embedry_bulk.errors import PlanError

Encoding = Literal["float32", "float16", "int8", "binary"]
Lists = Literal["fixed", "variable"]

Ranges = tuple[tuple[float, ...], tuple[float, ...]]
"""For each dimension the value that int8 stores as -128, and the one that it stores as 127."""

_READERS = {"sparse": "sparse_vectors", "multi_vector": "token_vectors"}

_STEPS = 255

_NARROWEST = 1e-30
"""Of a range: float32 can still be divided by it."""


def check(encoding: str, lists: str) -> None:
    """Raises PlanError for unknown names."""
    for name, value, known in (("encoding", encoding, get_args(Encoding)), ("list", lists, get_args(Lists))):
        if value not in known:
            raise PlanError(f"--{name} must be one of {', '.join(known)}, got {value!r}")


def ranges_of(vectors: NDArray[np.float32]) -> Ranges:
    """The ranges that a sample of vectors, float32 (n, dims), spans in each dimension. Values outside are clipped to them."""
    low, high = vectors.min(axis=0), vectors.max(axis=0)
    wide = high - low > _NARROWEST  # a dimension that never changes still needs a step that is not zero
    return tuple(low.tolist()), tuple(np.where(wide, high, low + 1.0).tolist())


def encoded(vectors: NDArray[np.float32], encoding: Encoding, ranges: Ranges | None) -> NDArray[np.generic]:
    """Vectors, float32 (n, dims), in the stored form: float32, float16 or int8 (n, dims), or uint8 (n, ceil(dims / 8)).

    int8 maps the range of a dimension linearly to -128...127. binary keeps signs: a bit is 1 where a value is positive, the
    first dimension in the highest bit of the first byte, like `numpy.packbits` and the ubinary precision of sentence-transformers.

    Raises:
        PlanError: a value exceeds the range of float16; this only happens with vectors that are not normalized.
    """
    if encoding == "int8":
        low, high = (np.asarray(each, dtype=np.float32) for each in ranges or ranges_of(vectors))
        steps = np.rint((vectors - low) * (_STEPS / (high - low))) - 128
        shifted: NDArray[np.generic] = np.clip(steps, -128, 127).astype(np.int8)
        return shifted
    if encoding == "binary":
        return np.packbits(vectors > 0, axis=1)
    if encoding == "float16" and (most := float(np.abs(vectors).max(initial=0))) > float(np.finfo(np.float16).max):
        raise PlanError(
            f"float16 holds numbers up to 65,504, and a vector has {most:,.0f}; plan a job with --encoding float32"
        )
    return vectors.astype(encoding, copy=False)


def decoded(column: pa.Array | pa.ChunkedArray, metadata: Mapping[bytes, bytes] | None) -> NDArray[np.float32]:
    """The vectors of a column that a job wrote, float32 (n, dims); binary vectors become 1 and -1.

    Args:
        column: lists of numbers, without nulls.
        metadata: the metadata of the table's schema.

    Raises:
        KeyError: the metadata does not belong to a job.
        ValueError: the job made another kind of vectors.
    """
    about = json.loads((metadata or {})[b"embedry.vectors"])
    if "kind" in about:
        raise ValueError(
            f"this column has the vectors of a {about['kind']} model; read it with {_READERS[about['kind']]}"
        )
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    width = -(-about["dims"] // 8) if about["encoding"] == "binary" else about["dims"]
    stored = np.asarray(column.flatten()).reshape(len(column), width)
    if about["encoding"] == "int8":
        low, high = (np.asarray(each, dtype=np.float32) for each in about["ranges"])
        return (low + (stored.astype(np.float32) + 128) * ((high - low) / _STEPS)).astype(np.float32)
    if about["encoding"] == "binary":
        bits = np.unpackbits(stored, axis=1, count=about["dims"])
        return np.where(bits, np.float32(1), np.float32(-1))
    return stored.astype(np.float32, copy=False)


def as_lists(stored: NDArray[np.generic], lists: Lists) -> pa.Array:
    """An array (n, width) as an Arrow column of lists, of a fixed size or of a variable one."""
    values = pa.array(stored.ravel())
    if lists == "fixed":
        return pa.FixedSizeListArray.from_arrays(values, stored.shape[1])
    offsets = np.arange(len(stored) + 1, dtype=np.int32) * stored.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets), values)


def list_type(dims: int, encoding: Encoding, lists: Lists) -> pa.DataType:
    """The type of the column that `as_lists` makes of encoded vectors."""
    return as_lists(
        encoded(np.zeros((0, dims), dtype=np.float32), encoding, ((0.0,) * dims, (1.0,) * dims)), lists
    ).type
