"""Parses and validates the bodies of responses."""

import base64
import binascii
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from embedry import BackendError

T = TypeVar("T")
Vectors = NDArray[np.float32]


class _Embedding(msgspec.Struct):
    index: int
    embedding: str | list[float]


class _Embeddings(msgspec.Struct):
    data: list[_Embedding]


class _Token(msgspec.Struct):
    id: int


def of_embeddings(content: bytes, *, texts: int, dims: int, url: str) -> Vectors:
    """Parses a response of OpenAI's `/v1/embeddings`: base64 of little-endian float32, or numbers, in any order -> float32 (texts, dims).

    Raises:
        BackendError: a text does not have exactly one vector of `dims` finite values.
    """
    data = _decoded(content, _Embeddings, url).data
    if sorted(each.index for each in data) != list(range(texts)):
        raise BackendError(f"{url} answered {len(data)} vectors for {texts} texts, or not one for each index")
    rows = [_row(each.embedding, url) for each in sorted(data, key=lambda each: each.index)]
    wrong = next((row for row in rows if len(row) != dims), None)
    if wrong is not None:
        raise BackendError(
            f"{url} answered a vector of {len(wrong)} values, and the model's entry says {dims}: it is another model, or "
            "shortens its vectors"
        )
    vectors = np.stack(rows)
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise BackendError(
            f"{url} answered values that are not finite for {texts - np.count_nonzero(finite)} of {texts} texts; the model "
            "there is broken, or computes in a precision that is too small for it"
        )
    return vectors


def of_tokenize(content: bytes, *, texts: int, url: str) -> list[int]:
    """Parses a response of `/tokenize`: a list of tokens for each text -> their numbers, including special tokens.

    Raises:
        BackendError: the response does not have a list for each text.
    """
    tokens: list[list[_Token]] = _decoded(content, list[list[_Token]], url)
    if len(tokens) != texts:
        raise BackendError(f"{url} answered the tokens of {len(tokens)} texts for {texts}")
    return [len(each) for each in tokens]


def _row(embedding: str | list[float], url: str) -> Vectors:
    if isinstance(embedding, str):
        try:
            values = np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
        except (binascii.Error, ValueError) as error:
            raise BackendError(f"{url} answered a vector that is no base64 of float32 values: {error}") from error
        return values.astype(np.float32)
    with np.errstate(over="ignore"):  # becomes infinite and is rejected below
        return np.asarray(embedding, dtype=np.float64).astype(np.float32)


def _decoded(content: bytes, kind: type[T], url: str) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # including null and NaN
        start = content[:80].decode(errors="replace")
        raise BackendError(
            f"{url} answered what cannot be read as vectors ({error}); it starts with {start!r}"
        ) from error
