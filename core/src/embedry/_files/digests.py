"""Cached facts about files: their sha256, and whether they are damaged. They are valid until the file changes.

This keeps starts fast. If the cache folder cannot be read, written or trusted, files are read again next time.
"""

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from embedry._files import cache, trust

FOLDER = "verified"
"""The folder in the cache that holds what was found out about files."""

STATED = "stated"
"""Names what is found out when a file is compared with what the hub states of it."""


def sha256(path: Path) -> str:
    """The sha256 of a file, in hex, from its bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256(path: Path, cache_dir: Path) -> str:
    """The sha256 of a file, in hex; its bytes are read once, see `remembered`."""
    return remembered(path, cache_dir, "sha256", sha256)


def check_sound(path: Path, cache_dir: Path) -> None:
    """Raises IntegrityError if a weights file is damaged in a way that needs no digest to be seen; see `weights.check`."""
    remembered(path, cache_dir, "sound", _sound)


def remembered(path: Path, cache_dir: Path, about: str, compute: Callable[[Path], str]) -> str:
    """What `compute` finds out about a file, computed once for a given path, size, modification and change time.

    Args:
        path: the file.
        cache_dir: the cache folder.
        about: names what is found out.
        compute: gives the answer, one line of text without spaces.
    """
    state = state_of(path.stat())  # before it is read: it may change meanwhile
    result = _recalled(path, state, cache_dir, about)
    if result is None:
        result = compute(path)
        with suppress(OSError):
            cache.subfolder(cache_dir, FOLDER)
            cache.write_text(_record_path(path, cache_dir, about), f"{state} {result}", cache_dir)
    return result


def is_remembered(path: Path, cache_dir: Path, about: str) -> bool:
    """Whether this was found out about a file, and the file has not changed since."""
    return _recalled(path, state_of(path.stat()), cache_dir, about) is not None


def _recalled(path: Path, state: str, cache_dir: Path, about: str) -> str | None:
    record = _record_path(path, cache_dir, about)
    try:
        trust.require(record, cache_dir)
        remembered_state, _, result = record.read_text(encoding="utf-8").rpartition(" ")
    except PermissionError as error:
        cache.warn(cache_dir, error)
    except (OSError, UnicodeDecodeError):  # nothing is remembered yet, or it is damaged
        pass
    else:
        return result if remembered_state == state else None
    return None


def _sound(path: Path) -> str:
    from embedry._files import weights

    weights.check(path)
    return "sound"


def _record_path(path: Path, cache_dir: Path, about: str) -> Path:
    name = hashlib.sha256(f"{about} {path.resolve()}".encode()).hexdigest()[:32]
    return cache_dir / FOLDER / name


def state_of(status: os.stat_result) -> str:
    """Equal for two looks at a file that was not written in between."""
    # A user who can write a file can set its modification time, as programs that copy it do, but not when it was last changed.
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
