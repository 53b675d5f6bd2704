"""Is this file the one the entry promises? sha256, remembered by size and modification time so that starts stay fast."""

import hashlib
from contextlib import suppress
from pathlib import Path

from embedry import cache


def sha256(path: Path) -> str:
    """The sha256 of a file, in hex, from its bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256(path: Path, cache_dir: Path) -> str:
    """The sha256 of a file, in hex; its bytes are read once for a given path, size and modification time.

    A cache folder that cannot be written only means that they are read again next time.
    """
    note = _note(path, cache_dir)
    state = _state(path)
    with suppress(OSError):
        remembered_state, _, digest = note.read_text(encoding="utf-8").rpartition(" ")
        if remembered_state == state:
            return digest
    digest = sha256(path)
    with suppress(OSError):
        cache.write_text(note, f"{state} {digest}")
    return digest


def _note(path: Path, cache_dir: Path) -> Path:
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]
    return cache_dir / "digests" / name


def _state(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"
