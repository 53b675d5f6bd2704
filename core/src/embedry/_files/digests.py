"""Is this file the one the entry promises, and is it sound? Found out once, and remembered by size and modification time.

So starts stay fast. A cache folder that cannot be written only means that the bytes are read again next time.
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from embedry._files import cache


def sha256(path: Path) -> str:
    """The sha256 of a file, in hex, from its bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256(path: Path, cache_dir: Path) -> str:
    """The sha256 of a file, in hex; its bytes are read once for a given path, size and modification time."""
    return _remembered(path, cache_dir, sha256)


def check_sound(path: Path, cache_dir: Path) -> None:
    """Raises IntegrityError if a weights file is damaged in a way that needs no digest to be seen; see `weights.check`."""
    _remembered(path, cache_dir, _sound)


def _sound(path: Path) -> str:
    from embedry._files import weights

    weights.check(path)
    return "sound"


def _remembered(path: Path, cache_dir: Path, compute: Callable[[Path], str]) -> str:
    record = _record_path(path, cache_dir, compute.__name__)
    state = _state(path)
    with suppress(OSError):
        remembered_state, _, result = record.read_text(encoding="utf-8").rpartition(" ")
        if remembered_state == state:
            return result
    result = compute(path)
    with suppress(OSError):
        cache.write_text(record, f"{state} {result}")
    return result


def _record_path(path: Path, cache_dir: Path, about: str) -> Path:
    name = hashlib.sha256(f"{about} {path.resolve()}".encode()).hexdigest()[:32]
    return cache_dir / "verified" / name


def _state(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"
