"""The column of a job's vectors: its type for each kind of model, and conversion in both directions."""

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from embedry import Space, SparseVectors, TokenVectors
from embedry_bulk import encodings
from embedry_bulk.encodings import Encoding, Lists, Ranges

Vectors: TypeAlias = NDArray[np.float32] | SparseVectors | TokenVectors
"""Float32 (texts, dims), or what models of other kinds give."""

TERMS = pa.struct([("indices", pa.list_(pa.int32())), ("values", pa.list_(pa.float32()))])
"""The column of a sparse model. One column, so that a row has both lists or none; in plain lists, which every reader takes."""


def type_of(space: Space, encoding: Encoding = "float32", lists: Lists = "fixed") -> pa.DataType:
    """The column type: lists of numbers for dense vectors, `TERMS` for sparse ones, lists of lists of `dims` floats for token vectors."""
    if space.kind == "sparse":
        return TERMS
    vector = encodings.list_type(space.dims, encoding, lists)
    return pa.list_(vector) if space.kind == "multi_vector" else vector


def column(
    vectors: Vectors,
    space: Space,
    encoding: Encoding = "float32",
    lists: Lists = "fixed",
    ranges: Ranges | None = None,
) -> pa.Array:
    """The vectors of a model of this space as a column of that type.

    Raises:
        PlanError: a value exceeds the range of float16.
    """
    if isinstance(vectors, np.ndarray):
        return encodings.as_lists(encodings.encoded(vectors, encoding, ranges), lists)
    return vectors.to_arrow().cast(type_of(space, encoding, lists))


def is_compact(space: Space, path: str) -> bool:
    """Whether compression does not shrink a column of vectors: it does not shrink numbers, but term ids.

    Args:
        space: of the vectors.
        path: the Parquet path of a leaf below the column.
    """
    return space.kind != "sparse" or path.startswith("values.")


def vectors_of(found: pa.Array | pa.ChunkedArray, metadata: Mapping[bytes, bytes] | None) -> Vectors:
    """The vectors of a column that a job wrote, of any kind."""
    kind = _about(metadata)["kind"]
    if kind == "sparse":
        return sparse_vectors(found, metadata)
    return token_vectors(found, metadata) if kind == "multi_vector" else encodings.decoded(found, metadata)


def sparse_vectors(column: pa.Array | pa.ChunkedArray, metadata: Mapping[bytes, bytes] | None) -> SparseVectors:
    """The vectors of a column that a job of a sparse model wrote.

    Args:
        column: structs of two lists, `indices` and `values`, without nulls.
        metadata: the metadata of the table's schema.

    Raises:
        KeyError: the metadata does not belong to a job.
        ValueError: the column is of another kind, or has a null, or lists of different lengths.
    """
    about = _about(metadata, "sparse")
    indices, values = (_without_nulls(each) for each in _without_nulls(column).flatten())
    starts = _starts(indices)
    if not np.array_equal(starts, _starts(values)):
        raise ValueError("a row has another number of indices than of values")
    ids, weights = (np.asarray(each.flatten()) for each in (indices, values))
    return SparseVectors(starts, ids, weights, dims=about["dims"])


def token_vectors(column: pa.Array | pa.ChunkedArray, metadata: Mapping[bytes, bytes] | None) -> TokenVectors:
    """The vectors of a column that a job of a multi-vector model wrote.

    Args:
        column: lists of lists of numbers, without nulls.
        metadata: the metadata of the table's schema.

    Raises:
        KeyError: the metadata does not belong to a job.
        ValueError: the column is of another kind, or has a null.
    """
    about = _about(metadata, "multi_vector")
    texts = _without_nulls(column)
    tokens = _without_nulls(texts.flatten())
    return TokenVectors(np.asarray(tokens.flatten()).reshape(len(tokens), about["dims"]), _starts(texts))


def _about(metadata: Mapping[bytes, bytes] | None, kind: str | None = None) -> dict[str, Any]:
    about: dict[str, Any] = {"kind": "dense"} | json.loads((metadata or {})[b"embedry.vectors"])
    if kind not in (None, about["kind"]):
        raise ValueError(f"this column has the vectors of a {about['kind']} model, and not of a {kind} one")
    return about


def _without_nulls(found: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(found, pa.ChunkedArray):
        found = found.combine_chunks()
    if found.null_count:
        raise ValueError(f"{found.null_count:,} rows have no vector")
    return found


def _starts(lists: pa.Array) -> NDArray[np.int64]:
    """The start of each list in the flat values, and the end of the last one."""
    offsets = np.asarray(lists.offsets).astype(np.int64)
    starts: NDArray[np.int64] = offsets - offsets[0]
    return starts
