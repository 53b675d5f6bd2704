"""The spaces of a store's vectors: stored in the table's metadata and checked when the store is opened."""

import json
from typing import Any

import pyarrow as pa

from embedry import LazyEmbedder, LazySparseEmbedder, Space, SpaceError
from embedry_langchain import rows

_DENSE = b"embedry.space"
"""The key of the space in the table's own metadata; null if another library makes the vectors."""

_SPARSE = b"embedry.sparse_space"
"""The key of the sparse vectors' space, in stores that have some."""


class StoreSpaces:
    """The spaces of the models of an open store.

    Args:
        embedder: the embedder; None for embeddings of another library.
        sparse: the sparse model; None if the store has no sparse vectors.
    """

    def __init__(self, embedder: LazyEmbedder | None, sparse: LazySparseEmbedder | None) -> None:
        self._embedder, self._sparse = embedder, sparse
        self._space = Space.of(embedder) if embedder else None
        self._sparse_space = Space.of(sparse) if sparse else None

    def schema(self, dims: int) -> pa.Schema:
        """The columns of a store for vectors of `dims`, with the spaces as metadata."""
        space = self._space and self._space.as_dict()
        kept = {_DENSE: json.dumps(space).encode()}
        if self._sparse_space is not None:
            kept[_SPARSE] = json.dumps(self._sparse_space.as_dict()).encode()
        return rows.schema(dims, sparse=self._sparse is not None).with_metadata(kept)

    def check(self, schema: pa.Schema, name: str, where: str) -> None:
        """Compares the spaces of a table with these.

        Args:
            schema: the schema of the table.
            name: the name of the table.
            where: the location of the store, for messages.

        Raises:
            SpaceError: the table is not a store, or its vectors were made by other models.
        """
        metadata = schema.metadata or {}
        has_sparse = _SPARSE in metadata
        if _DENSE not in metadata or not rows.fits(schema, sparse=has_sparse):
            raise SpaceError(f"the table {name!r} in {where} is not a store of embedry; choose another with table=")
        self._check_dense(_saved(metadata, _DENSE, name, where), where)
        self._check_sparse(_saved(metadata, _SPARSE, name, where) if has_sparse else None, where)

    def _check_dense(self, saved: Space | None, where: str) -> None:
        if saved is not None and self._embedder is not None:
            saved.check(self._embedder)
        elif saved != self._space:
            made, given = (
                f"embedry's {space.model!r}" if space else "embeddings of other libraries"
                for space in (saved, self._space)
            )
            raise SpaceError(
                f"the store in {where} was made by {made}, and cannot be compared with the vectors of {given}; "
                "open it with the embeddings that made it, or make a new store"
            )

    def _check_sparse(self, saved: Space | None, where: str) -> None:
        if saved is not None and self._sparse is not None:
            saved.check(self._sparse)
        elif saved is not None:
            raise SpaceError(
                f"the store in {where} has sparse vectors of {saved.model!r} too, which new documents need as well; "
                f"open it with sparse={saved.model!r}"
            )
        elif self._sparse is not None:
            raise SpaceError(
                f"the store in {where} has no sparse vectors; open it without sparse=, or make a new store"
            )


def _saved(metadata: dict[bytes, bytes], key: bytes, name: str, where: str) -> Space | None:
    try:
        saved: Any = json.loads(metadata[key])
        return None if saved is None else Space.from_dict(saved)
    except (ValueError, TypeError, RecursionError):
        raise SpaceError(
            f"the table {name!r} in {where} does not say which embeddings made its vectors: its metadata "
            f"{key.decode()!r} is {metadata[key][:200]!r}; restore it from a backup, or choose another table with table="
        ) from None
