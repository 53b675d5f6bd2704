"""Converts vectors of each kind to JSON values."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from embedry import SparseVectors, TokenVectors
from embedry.chains import Kind

Vectors: TypeAlias = NDArray[np.float32] | SparseVectors | TokenVectors
"""Dense vectors, float32 (texts, dims), or sparse vectors, or multi-vectors."""


class VectorColumn(NamedTuple):
    """The column of the vectors."""

    name: str
    kind: Kind
    dims: int
    """Length of each vector; for sparse vectors, the size of the vocabulary."""
    about: Mapping[str, Any]
    """`space`, see `Space.as_dict`, and `role`."""


def plain(vectors: Vectors) -> list[Any]:
    """One value per text: a list of numbers, an object with the lists `indices` and `values`, or a list of lists."""
    if isinstance(vectors, SparseVectors):
        return [{"indices": indices.tolist(), "values": values.tolist()} for indices, values in vectors]
    if isinstance(vectors, TokenVectors):
        return [each.tolist() for each in vectors]
    return cast("list[Any]", vectors.tolist())
