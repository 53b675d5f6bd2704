"""A cache of vectors: each text is computed once for all processes that share the folder.

Each vector space has its own SQLite file in the folder. A call commits new vectors before it returns, so a killed process
does not lose vectors that a call has returned.
"""

import os
import threading
import warnings
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from embedry._files import trust
from embedry.errors import CacheWarning

if TYPE_CHECKING:
    import sqlite3

    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

_PATIENCE = 60.0
"""Seconds to wait while another process writes."""

_MOST_VARIABLES = 30_000
"""Keys in one query; SQLite takes 32,766."""

_PRAGMAS = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA mmap_size=1073741824"
"""With a write-ahead log, readers and a writer do not block each other. With NORMAL, committed transactions survive a killed
process; a power failure may lose the last ones, but does not damage the file."""


class VectorCache:
    """The vectors of one space, by role and text. Safe for use from several threads and processes, and after fork.

    If the file cannot be read or written, it issues one `CacheWarning` and computes the vectors.
    """

    def __init__(self, file: Path, dims: int) -> None:
        self.file = file
        self.hits = 0
        self.misses = 0
        self._dims = dims
        self._own = _Connections()
        self._is_broken = False

    def encode(
        self,
        texts: Sequence[str],
        role: str,
        compute: "Callable[[list[str]], Iterable[tuple[Sequence[str], NDArray[np.float32]]]]",
        advance: Callable[[int], object] | None = None,
    ) -> "NDArray[np.float32]":
        """The vectors of the texts, float32 (texts, dims), in their order.

        Args:
            texts: any number of texts; equal texts are looked up once.
            role: the role of all texts.
            compute: yields the vectors of uncached texts in blocks; each block is committed before the next.
            advance: called with the number of cached texts.
        """
        import numpy as np

        keys = {text: _key(role, text) for text in texts}
        rows = self._read(list(keys.values()))
        missing = [text for text, key in keys.items() if key not in rows]
        self.hits += len(keys) - len(missing)
        self.misses += len(missing)
        if advance is not None:
            advance(len(keys) - len(missing))
        for block, vectors in compute(missing) if missing else ():
            found = [(keys[text], vector.tobytes()) for text, vector in zip(block, vectors.astype("<f4"), strict=True)]
            self._write(found)
            rows.update(found)
        joined = b"".join([rows[keys[text]] for text in texts])
        return np.frombuffer(joined, dtype="<f4").reshape(len(texts), self._dims).astype(np.float32)

    def __len__(self) -> int:
        """The number of cached vectors."""
        found: list[tuple[int]] = self._do(lambda own: own.execute("SELECT count(*) FROM vectors").fetchall())
        return sum(count for (count,) in found)

    def _read(self, keys: list[bytes]) -> dict[bytes, bytes]:
        def read(own: "sqlite3.Connection") -> list[tuple[bytes, bytes]]:
            found = []
            remaining = iter(keys)
            while some := list(islice(remaining, _MOST_VARIABLES)):
                marks = ",".join("?" * len(some))
                query = f"SELECT key, vector FROM vectors WHERE key IN ({marks})"  # noqa: S608  only marks
                found += own.execute(query, some).fetchall()
            return found

        return {key: vector for key, vector in self._do(read) if len(vector) == 4 * self._dims}

    def _write(self, rows: Sequence[tuple[bytes, bytes]]) -> None:
        def write(own: "sqlite3.Connection") -> list[object]:
            with own:  # one transaction
                own.execute("BEGIN IMMEDIATE")
                own.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", rows)
            return []

        self._do(write)

    def _do(self, action: "Callable[[sqlite3.Connection], list[T]]") -> list[T]:
        import sqlite3

        if self._is_broken:
            return []
        try:
            return action(self._own.connection(self.file))
        except (OSError, sqlite3.Error) as error:
            self._is_broken = True
            warnings.warn(
                CacheWarning(
                    f"the vector cache {self.file} cannot be used, so vectors are computed again: {error}; remove the file if it "
                    "is damaged, or choose another folder with vector_cache="
                ),
                stacklevel=2,
            )
            return []


class _Connections(threading.local):
    """One connection per thread and process, because a forked child must not use its parent's connections."""

    def __init__(self) -> None:
        self._own: _Connection | None = None

    def connection(self, file: Path) -> "sqlite3.Connection":
        """The connection of this thread and process, opened if needed.

        Raises:
            OSError, sqlite3.Error: the file cannot be opened.
        """
        if self._own is None or self._own.process != os.getpid():
            self._own = _Connection(file)
        return self._own.database


class _Connection:
    """A connection that is closed when its thread ends."""

    _of_parents: "list[sqlite3.Connection]" = []  # noqa: RUF012  a child neither uses nor closes them

    def __init__(self, file: Path) -> None:
        self.process = os.getpid()
        self.database = _opened(file)

    def __del__(self) -> None:
        if not hasattr(self, "database"):  # opening failed
            return
        if self.process == os.getpid():
            self.database.close()
        else:
            self._of_parents.append(self.database)


def _opened(file: Path) -> "sqlite3.Connection":
    import sqlite3

    file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    trust.require(file, file.parent)
    found = sqlite3.connect(file, timeout=_PATIENCE, isolation_level=None)
    try:
        found.executescript(_PRAGMAS)
        found.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL)")
        trust.close(file)
    except BaseException:
        found.close()
        raise
    return found


def _key(role: str, text: str) -> bytes:
    return blake2b(f"{role}\0{text}".encode(), digest_size=16).digest()
