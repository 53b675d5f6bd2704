"""The LanceDB table of a store: opens, creates, checks and compacts it."""

import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any

import lancedb
import numpy as np
from lancedb.table import Table
from numpy.typing import NDArray

from embedry import LazyEmbedder, LazySparseEmbedder, SpaceError, SparseVectors
from embedry_langchain import rows
from embedry_langchain.spaces import StoreSpaces

_MOST_PARTS = 64
"""Each write adds a part to the table. Above this number they are compacted, which takes as long as some ten writes."""

_KEPT = timedelta(hours=1)
"""Compacted parts are kept this long for readers that still use them."""

_CONFLICT = re.compile("commit conflict|incompatible transaction|too many concurrent writers", re.IGNORECASE)

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
"""A path that begins like this is a URL; one letter would be a drive of Windows."""

_creating = Lock()
"""Held while a table in memory is made, by one of several threads."""


class StoreTable:
    """The table of a store, in a folder or in memory. The first write creates it.

    Thread-safe; several processes can use the same folder.

    Args:
        path: the local folder, created if it does not exist; None for a table in memory.
        name: the name of the table.
        embedder: the embedder; None for embeddings of another library.
        sparse: the sparse model; None if the store has no sparse vectors.

    Raises:
        SpaceError: the table was made by other embeddings, is damaged, or is not a store.
        NotADirectoryError: the path is a file.
        ValueError: the path is a URL.
    """

    def __init__(
        self,
        path: str | Path | None,
        name: str,
        embedder: LazyEmbedder | None,
        sparse: LazySparseEmbedder | None = None,
    ) -> None:
        self._name = name
        self._where = "memory" if path is None else str(path)
        self._folder = None if path is None else _folder(path)
        # Each read sees the writes of others.
        self._database = lancedb.connect(self._folder or "memory://", read_consistency_interval=timedelta(0))
        self._spaces = StoreSpaces(embedder, sparse)
        self._known = self._opened()

    def get(self) -> Table | None:
        """The LanceDB table, or None until this or another process writes rows.

        Raises:
            SpaceError: the table of another process has another space, is damaged, or is not a store.
        """
        if self._known is None:
            self._known = self._opened()
        return self._known

    def write(
        self, stored: Sequence[Mapping[str, str]], vectors: NDArray[np.float32], sparse: SparseVectors | None
    ) -> None:
        """Adds rows with their vectors, and replaces rows with the same ids.

        Args:
            stored: ids, texts and metadata.
            vectors: float32 (rows, dims).
            sparse: the sparse vectors, in a store that has them.

        Raises:
            SpaceError: the stored vectors have another length or space, or the table cannot be created.
        """
        dims = vectors.shape[1]
        table = self.get()
        if table is None:
            table = self._known = self._created(dims)
        self.check_length(dims, table)
        # LanceDB itself repeats a merge that conflicts with another writer's.
        table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(
            rows.columns(stored, vectors, sparse)
        )
        stats: Any = table.stats()  # a dict, whatever its type says
        if stats["fragment_stats"]["num_fragments"] > _MOST_PARTS:
            _compact(table)

    def check_length(self, dims: int, table: Table) -> None:
        """Compares the length of a vector with the stored ones.

        Raises:
            SpaceError: they differ.
        """
        stored = table.schema.field("vector").type.list_size
        if dims != stored:
            raise SpaceError(f"a vector must have {stored} dims for the store in {self._where}, got {dims}")

    def _created(self, dims: int) -> Table:
        """The table, created by this or another writer."""
        schema = self._spaces.schema(dims)
        if self._folder is None:
            with _creating:
                table = self._opened()
                return self._database.create_table(self._name, schema=schema) if table is None else table
        # LanceDB's create_table may replace a table, with its rows, that another process made at the same moment.
        # Renaming a folder replaces nothing.
        with TemporaryDirectory(dir=self._folder, prefix=".new-") as apart:
            lancedb.connect(apart).create_table(self._name, schema=schema)
            (made,) = Path(apart).iterdir()
            try:
                made.rename(self._folder / made.name)
            except OSError as error:
                table = self._opened()
                if table is None:
                    raise SpaceError(
                        f"the store cannot be created: {error}; move away what is there, or choose another table="
                    ) from error
                return table
        return self._database.open_table(self._name)

    def _opened(self) -> Table | None:
        try:
            table = self._database.open_table(self._name)
        except ValueError as error:
            if "not found" not in str(error):
                raise
            return None
        except RuntimeError as error:
            raise SpaceError(
                f"the table {self._name!r} in {self._where} cannot be opened: {error}; "
                "restore it from a backup, or choose another with table="
            ) from error
        self._spaces.check(table.schema, self._name, self._where)
        return table


def _folder(path: str | Path) -> Path:
    if _URL.match(str(path)):
        raise ValueError(
            f"path must be a local folder, got the URL {str(path)!r}; give a folder, with table= to choose a table in it, "
            "or use LanceDB itself for remote tables: lancedb.connect(url)"
        )
    if Path(path).is_file():
        raise NotADirectoryError(f"path must be a folder, got the file {path}")
    return Path(path)


def is_conflict(error: RuntimeError) -> bool:
    """Whether an error of LanceDB is a commit conflict; LanceDB has no exception type for it."""
    return _CONFLICT.search(str(error)) is not None


def _compact(table: Table) -> None:
    """Compacts small fragments. If another writer commits at the same time, a later write compacts them."""
    try:
        table.optimize(cleanup_older_than=_KEPT)
    except RuntimeError as error:
        if not is_conflict(error):
            raise
