"""What models give for texts, of each kind, as values of JSON."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from embedry import SparseVectors, TokenVectors
from embedry.chains import Kind

Vectors: TypeAlias = NDArray[np.float32] | SparseVectors | TokenVectors
"""Float32 (texts, dims), or what models of other kinds give."""


class VectorColumn(NamedTuple):
    """The vectors' column."""

    name: str
    kind: Kind
    dims: int
    """Length of every vector; of sparse ones the terms of the vocabulary."""
    about: Callable[[], Mapping[str, Any]]
    """Gives `space`, see `Space.as_dict`, and `role`. Only called once the model is loaded, because a space may depend on its files."""


def plain(vectors: Vectors) -> list[Any]:
    """For each text a list of numbers; of its terms an object of two lists, `indices` and `values`; of its tokens a list of lists."""
    if isinstance(vectors, SparseVectors):
        return [{"indices": indices.tolist(), "values": values.tolist()} for indices, values in vectors]
    if isinstance(vectors, TokenVectors):
        return [each.tolist() for each in vectors]
    return cast("list[Any]", vectors.tolist())
