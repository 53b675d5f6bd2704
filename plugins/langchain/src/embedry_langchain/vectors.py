"""Validates vectors that do not come from embedry: those of other `Embeddings`, and those that a caller passes."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from langchain_core.embeddings import Embeddings
from numpy.typing import NDArray

from embedry.errors import BackendContractError

_BLOCK = 1024
"""Documents that are embedded in one call."""


def checked(values: Any, *, cosine: bool) -> NDArray[np.float32]:
    """One vector, float32 (dims,).

    Raises:
        ValueError: it is not a list of finite numbers, or its cosine is undefined.
    """
    with np.errstate(over="ignore"):  # overflow becomes infinite and is rejected
        try:
            vector = np.asarray(values, dtype=np.float32)
        except (TypeError, ValueError, OverflowError):
            raise ValueError("it is not a list of numbers") from None
        if vector.ndim != 1 or not vector.size:
            raise ValueError("it is not a list of numbers")
        if not np.isfinite(vector).all():
            raise ValueError("it has values that are not finite float32 numbers")
        if cosine:
            _check_length(float(vector @ vector))
    return vector


def _check_length(squared: float) -> None:
    if squared == 0:
        raise ValueError("it is zero, and has no cosine with any other")
    if squared == math.inf:
        raise ValueError("it is too long: the square of its length is not a finite float32 number")


def of_query(embeddings: Embeddings, query: str, *, cosine: bool) -> list[float]:
    """The vector of a query, by embeddings of another library.

    Raises:
        BackendContractError: the vector is invalid, see `checked`.
    """
    values = embeddings.embed_query(query)
    try:
        checked(values, cosine=cosine)
    except ValueError as error:
        raise BackendContractError(f"{_name(embeddings)} returned an invalid vector for the query: {error}") from None
    return values


def of_documents(
    embeddings: Embeddings, texts: Sequence[str], positions: Sequence[int], *, cosine: bool
) -> NDArray[np.float32]:
    """The vectors of texts, by embeddings of another library, float32 (texts, dims).

    Args:
        embeddings: the embeddings; many texts are embedded in several calls.
        texts: one or more.
        positions: the position of each text among the caller's documents, for messages.
        cosine: whether the similarity is the cosine.

    Raises:
        BackendContractError: the number of vectors differs from the number of texts, or a vector is invalid or of a different length.
    """
    found: list[NDArray[np.float32]] = []
    for start in range(0, len(texts), _BLOCK):
        block = list(texts[start : start + _BLOCK])
        made = embeddings.embed_documents(block)
        if len(made) != len(block):
            raise BackendContractError(
                f"{_name(embeddings)} returned {len(made)} vectors for {len(block)} texts, "
                f"those from document {positions[start]} on; nothing was stored"
            )
        for values, position in zip(made, positions[start : start + _BLOCK], strict=True):
            try:
                found.append(checked(values, cosine=cosine))
                if found[-1].size != found[0].size:
                    raise ValueError(f"it has {found[-1].size} dims, and the first one has {found[0].size}")
            except ValueError as error:
                raise BackendContractError(
                    f"{_name(embeddings)} returned an invalid vector for document {position}: {error}; "
                    "nothing was stored"
                ) from None
    return np.stack(found)


def _name(embeddings: Embeddings) -> str:
    return type(embeddings).__name__
