"""Collects results for each kind of model, the only part of the pipeline that depends on the kind.

Workers store the results of each batch; when all are present, they are combined into the result of the call.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from embedry._files import tokenizer_file
from embedry._pipeline import finishing
from embedry._pipeline.loaded import LoadedEngine
from embedry.errors import BackendContractError
from embedry.heads import LateInteraction
from embedry.options import Config
from embedry.ragged import SparseVectors, TokenVectors


class Results(Protocol):
    """How the results of one kind are collected."""

    def empty(self, count: int) -> Any:
        """Room for the results of so many texts."""

    def put(self, room: Any, positions: NDArray[np.intp], rows: Sequence[Any], result: NDArray[np.float32]) -> None:
        """Puts an engine's result for a batch there, finished.

        Args:
            room: as `empty` made it.
            positions: of the batch's texts in it.
            rows: what the engine was given for each of them.
            result: what it returned.
        """

    def collected(self, room: Any, inverse: Sequence[int] | None) -> Any:
        """What the caller gets; with `inverse`, of each of the caller's texts the result at that position."""


class Vectors:
    """A row for each text: vectors, or the logits of pairs."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def empty(self, count: int) -> NDArray[np.float32]:
        """Zeros: a text without tokens is computed by nobody."""
        return np.zeros((count, self._config.dims), dtype=np.float32)

    def put(
        self, room: NDArray[np.float32], positions: NDArray[np.intp], rows: Sequence[Any], result: NDArray[np.float32]
    ) -> None:
        """See `Results.put`."""
        width = self._config.spec.dims
        room[positions] = finishing.finish(result, self._config.tail, rows=len(rows), width=width)

    def collected(self, room: NDArray[np.float32], inverse: Sequence[int] | None) -> NDArray[np.float32]:
        """Float32 (texts, dims)."""
        return room if inverse is None else room[inverse]


class SparseRows:
    """The weights of each text that are not 0."""

    def __init__(self, config: Config, vocabulary: Callable[[], Sequence[str]] | None) -> None:
        self._config = config
        self._vocabulary = vocabulary

    def empty(self, count: int) -> list[tuple[NDArray[np.int32], NDArray[np.float32]]]:
        """No weights."""
        return [(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32))] * count

    def put(
        self,
        room: list[tuple[NDArray[np.int32], NDArray[np.float32]]],
        positions: NDArray[np.intp],
        rows: Sequence[Any],
        result: NDArray[np.float32],
    ) -> None:
        """See `Results.put`."""
        weights = finishing.finish(result, (), rows=len(rows), width=self._config.spec.dims)
        if weights.min(initial=0) < 0:
            raise BackendContractError("the backend returned weights below 0, which a sparse vector cannot have")
        for position, row in zip(positions.tolist(), weights, strict=True):
            indices = np.flatnonzero(row)
            room[position] = indices.astype(np.int32), row[indices]

    def collected(
        self, room: list[tuple[NDArray[np.int32], NDArray[np.float32]]], inverse: Sequence[int] | None
    ) -> SparseVectors:
        """All in one."""
        rows = room if inverse is None else [room[place] for place in inverse]
        nothing = self.empty(1)
        return SparseVectors(
            _offsets([len(values) for _, values in rows]),
            np.concatenate([indices for indices, _ in rows or nothing]),
            np.concatenate([values for _, values in rows or nothing]),
            dims=self._config.dims,
            vocabulary=self._vocabulary,
        )


class TokenRows:
    """The vectors of each text's tokens that count in its role."""

    def __init__(self, config: Config, role: str, engine: LoadedEngine | None) -> None:
        self._config = config
        end = config.chain[-1]
        assert isinstance(end, LateInteraction)  # noqa: S101  which makes it this kind
        skip = end.skip if role in end.skip_in else ()
        self._skipped = engine.reader.ids_of(skip) if engine is not None else []
        self._kept = end.keep_only if role != "query" else ()

    def empty(self, count: int) -> list[NDArray[np.float32]]:
        """No vectors."""
        return [np.empty((0, self._config.dims), dtype=np.float32)] * count

    def put(
        self,
        room: list[NDArray[np.float32]],
        positions: NDArray[np.intp],
        rows: Sequence[Any],
        result: NDArray[np.float32],
    ) -> None:
        """See `Results.put`."""
        lengths = np.array([len(row) for row in rows])
        if result.ndim != 3 or len(result) != len(rows) or result.shape[1] < lengths.max():
            raise BackendContractError(
                f"the backend returned {result.shape} for {len(rows)} texts of up to {lengths.max()} tokens, and a "
                "multi-vector model gives (texts, tokens, width)"
            )
        ids = np.concatenate([row if row.ndim == 1 else row[:, 0] for row in rows])
        counts = ~np.isin(ids, self._skipped)
        if self._kept:
            counts &= np.isin(ids, self._kept)
        vectors = result[np.arange(result.shape[1]) < lengths[:, np.newaxis]][counts]
        finished = finishing.finish(vectors, self._config.tail, rows=len(vectors), width=self._config.spec.dims)
        ends = np.cumsum(np.add.reduceat(counts, np.cumsum(lengths) - lengths, dtype=np.intp))[:-1]
        for position, part in zip(positions.tolist(), np.split(finished, ends), strict=True):
            room[position] = part

    def collected(self, room: list[NDArray[np.float32]], inverse: Sequence[int] | None) -> TokenVectors:
        """All in one."""
        rows = room if inverse is None else [room[place] for place in inverse]
        return TokenVectors(np.concatenate(rows or self.empty(1)), _offsets([len(vectors) for vectors in rows]))


def results_of(config: Config, role: str, engine: LoadedEngine | None) -> Results:
    """How the results of a model's texts in this role are collected; without an engine, those of no texts."""
    kind = config.spec.kind
    if kind == "sparse":
        file = engine.folder / config.spec.tokenizer if engine is not None else None
        return SparseRows(config, partial(_vocabulary, file) if file is not None else None)
    return TokenRows(config, role, engine) if kind == "multi_vector" else Vectors(config)


@lru_cache(maxsize=16)
def _vocabulary(file: Path) -> Sequence[str]:
    return tokenizer_file.terms(file)


def _offsets(lengths: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.asarray(lengths, dtype=np.int64))]).astype(np.int64)
