"""Stores the index of a folder in one SQLite file: the files, their passages and the vectors.

Each file of the folder is one row with all its passages, so it is replaced or removed as a whole. Readers see the state
before or after a transaction. If a process is killed, its last committed transaction remains.
"""

import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

from embedry.cached import with_logs
from embedry_cli.amounts import time_span
from embedry_cli.errors import InputError, OutputError

_FORMAT = 1
"""The format of the file, stored as SQLite's `user_version`."""

_PATIENCE = 60.0
"""Seconds to wait while another process writes."""

_MAPPED = 1 << 40
"""Bytes of a file that SQLite maps into memory, which is faster than reading; SQLite itself limits it to 2 GB."""

_SCHEMA = (
    "CREATE TABLE facts (json TEXT NOT NULL)",
    # Short columns come first: SQLite reads a row only as far as necessary.
    "CREATE TABLE files (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, state TEXT NOT NULL, "
    "skipped TEXT, vectors BLOB NOT NULL, passages BLOB NOT NULL)",
    f"PRAGMA user_version={_FORMAT}",
)

_INSIDE = "(:name = x'' OR name = :name OR (name >= :first AND name < :end))"
"""Selects the files in a folder, or a single file; see `_range`."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """How and when an index was made."""

    folder: str
    """The absolute path, with symbolic links resolved."""
    space: dict[str, Any]
    """`Space.as_dict()`."""
    role: str
    """The role used to embed passages."""
    longest: int
    """The maximum length of a passage, in characters."""
    largest_mb: int
    """The maximum size of a file, in MB."""
    updated: float | None = None
    """When an update last completed, in seconds since 1970; None if none has."""
    bytes_per_second: float | None = None
    """The measured embedding speed."""

    @property
    def age(self) -> str:
        """The time since the last completed update, in words."""
        return "unfinished" if self.updated is None else f"{time_span(max(time.time() - self.updated, 0))} old"

    @property
    def model(self) -> str:
        """The name of the model, as for `--model`."""
        return str(self.space["model"])

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the space."""
        return str(self.space["fingerprint"])


class Row(NamedTuple):
    """The stored state of a file."""

    state: str
    """See `digests.state_of`."""
    skipped: str | None
    """Why the file is not text; None for a text file."""


class FileRow(NamedTuple):
    """A file with its passages. A file that is not text has none."""

    name: str
    state: str
    skipped: str | None = None
    vectors: bytes = b""
    """Little-endian float32 (passages, dims)."""
    passages: Sequence[tuple[int, str]] = ()
    """The number of the first line, from 1, and the text of each passage."""


class Index:
    """An open index. Not safe to share between threads."""

    def __init__(self, path: Path) -> None:
        """Opens an existing index.

        Raises:
            InputError: the file is not an index.
            OutputError: the file cannot be opened.
        """
        self.path = path
        with _told(path):
            self._database = _connected(f"{path.absolute().as_uri()}?mode=rw")
            try:
                if _version(self._database) != _FORMAT:
                    raise InputError(f"{path} is not an index, or one of another version of embedry")
                self.facts = self._facts()
            except BaseException:
                self.close()
                raise

    @classmethod
    def create(cls, path: Path, facts: Facts) -> Self:
        """Opens an index, and creates it first if the file does not exist.

        Only the owner can read the file, because it contains texts. Call this inside `writing`.

        Raises:
            OSError: the file cannot be created.
            As the constructor.
        """
        if not path.exists():
            new = path.with_name(f".{path.name}.new")  # a search must not find an incomplete index
            new.unlink(missing_ok=True)
            os.close(os.open(new, os.O_CREAT | os.O_RDWR, 0o600))
            with _told(path), closing(_connected(new.absolute().as_uri())) as database:
                database.execute("PRAGMA journal_mode=WAL")  # so that readers and a writer do not wait for each other
                for statement in _SCHEMA:
                    database.execute(statement)
                database.execute("INSERT INTO facts VALUES (?)", [json.dumps(asdict(facts))])
            new.rename(path)
        return cls(path)

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All reads in the block see the same state."""
        with _told(self.path), _transaction(self._database, "DEFERRED"):
            yield

    def rows(self, inside: str = "") -> dict[str, Row]:
        """The files in a folder, or a single file, by name. Names are relative to the indexed folder."""
        query = f"SELECT name, state, skipped FROM files WHERE {_INSIDE}"  # noqa: S608  it contains no values
        with self.snapshot():
            found = self._database.execute(query, _range(inside))
            return {os.fsdecode(name): Row(state, skipped) for name, state, skipped in found}

    def counts(self) -> tuple[int, int]:
        """The number of text files and the number of passages."""
        query = "SELECT count(*), total(length(vectors)) FROM files WHERE skipped IS NULL"
        with self.snapshot():
            files, size = self._database.execute(query).fetchone()
        return files, int(size) // (4 * self.facts.space["dims"])

    def file(self, name: str) -> FileRow | None:
        """The row of a file, or None if the file is not in the index."""
        query = "SELECT state, skipped, vectors, passages FROM files WHERE name = ?"
        with self.snapshot():
            row = self._database.execute(query, [os.fsencode(name)]).fetchone()
        if row is None:
            return None
        state, skipped, vectors, passages = row
        return FileRow(name, state, skipped, vectors, _unpacked(passages))

    def vectors(self, inside: str = "") -> Iterator[tuple[int, bytes]]:
        """Yields the ID of each text file and the vectors of its passages. Call this inside `snapshot`."""
        query = f"SELECT id, vectors FROM files WHERE skipped IS NULL AND {_INSIDE}"  # noqa: S608
        yield from self._database.execute(query, _range(inside))

    def passages(self, number: int) -> tuple[str, list[tuple[int, str]]]:
        """The name and the passages of a file, by its ID. Call this inside `snapshot`."""
        query = "SELECT name, passages FROM files WHERE id = ?"
        name, passages = self._database.execute(query, [number]).fetchone()
        return os.fsdecode(name), _unpacked(passages)

    def put(self, files: Iterable[FileRow]) -> None:
        """Adds or replaces files, in one transaction."""
        query = "INSERT OR REPLACE INTO files (name, state, skipped, vectors, passages) VALUES (?, ?, ?, ?, ?)"
        rows = [(os.fsencode(file.name), *file[1:-1], _packed(file.passages)) for file in files]
        self._write(query, rows)

    def remove(self, names: Iterable[str]) -> None:
        """Removes files, in one transaction."""
        self._write("DELETE FROM files WHERE name = ?", [(os.fsencode(name),) for name in names])

    def save(self, facts: Facts) -> None:
        """Replaces the facts."""
        self._write("UPDATE facts SET json = ?", [(json.dumps(asdict(facts)),)])
        self.facts = facts

    def _write(self, query: str, rows: Sequence[tuple[object, ...]]) -> None:
        with _told(self.path), _transaction(self._database):
            self._database.executemany(query, rows)

    def _facts(self) -> Facts:
        return Facts(**json.loads(self._database.execute("SELECT json FROM facts").fetchone()[0]))


@contextmanager
def writing(path: Path) -> Iterator[bool]:
    """Locks an index so that only one process can create, update or remove it. Yields whether the lock was free.

    Raises:
        OSError: the folder is not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(path)
    with _told(path), closing(_connected(lock.absolute().as_uri(), patience=0)) as database:
        try:
            database.execute("BEGIN EXCLUSIVE")  # released when the process ends, even if it is killed
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            yield False
        else:
            yield True


def remove(path: Path) -> None:
    """Removes an index. Call this inside `writing`. Processes that have the index open can continue to read it."""
    for each in (*with_logs(path), _lock(path)):
        each.unlink(missing_ok=True)


def _lock(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Converts SQLite errors to errors of embedry."""
    try:
        yield
    except sqlite3.OperationalError as error:  # disk full, no permission
        raise OutputError(f"the index {path} cannot be used: {error}") from error
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path} is not an index, or it is damaged: {error}") from error


@contextmanager
def _transaction(database: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    database.execute(f"BEGIN {kind}")
    with database:  # commits, or rolls back after an error
        yield


def _connected(uri: str, patience: float = _PATIENCE) -> sqlite3.Connection:
    database = sqlite3.connect(uri, uri=True, timeout=patience, isolation_level=None)
    database.execute(f"PRAGMA mmap_size={_MAPPED}")
    return database


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _range(inside: str) -> dict[str, bytes]:
    name, separator = os.fsencode(inside), os.fsencode(os.sep)
    return {"name": name, "first": name + separator, "end": name + bytes([separator[0] + 1])}


def _packed(passages: Sequence[tuple[int, str]]) -> bytes:
    return zlib.compress(json.dumps(passages, ensure_ascii=False).encode(), 1)


def _unpacked(packed: bytes) -> list[tuple[int, str]]:
    return [(line, text) for line, text in json.loads(zlib.decompress(packed))]
