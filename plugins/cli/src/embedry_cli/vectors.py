"""What models give for texts, of each kind, as values of JSON."""

from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from embedry import SparseVectors, TokenVectors

Vectors: TypeAlias = NDArray[np.float32] | SparseVectors | TokenVectors
"""Float32 (texts, dims), or what models of other kinds give."""


def plain(vectors: Vectors) -> list[Any]:
    """For each text a list of numbers; of its terms an object of two lists, `indices` and `values`; of its tokens a list of lists."""
    if isinstance(vectors, SparseVectors):
        return [{"indices": indices.tolist(), "values": values.tolist()} for indices, values in vectors]
    if isinstance(vectors, TokenVectors):
        return [each.tolist() for each in vectors]
    return cast("list[Any]", vectors.tolist())
