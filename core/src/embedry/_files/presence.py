"""Checks whether files exist, for users who may not have access to every folder."""

import errno
import os
import stat
import warnings
from collections.abc import Collection, Iterable
from pathlib import Path

from embedry.errors import CacheWarning

_warned: set[Path] = set()
"""Folders that a warning has named in this process."""


def missing(folder: Path, files: Iterable[str]) -> list[str]:
    """The files that the folder lacks.

    Raises:
        PermissionError: this user may not look into the folder, or may not read one of the files.
    """
    return [file for file in files if not _readable(folder / file)]


def has(folder: Path, files: Collection[str]) -> bool:
    """Whether the folder has all these files. One that may not be looked into has none, with a `CacheWarning` once."""
    try:
        return not missing(folder, files)
    except PermissionError as error:
        warn(error)
        return False


def warn(error: PermissionError) -> None:
    """Warns, once for a folder, that what this user may not read counts as absent."""
    closed = _outermost_closed(Path(error.filename))
    if closed not in _warned:
        _warned.add(closed)
        warnings.warn(
            CacheWarning(
                f"{closed} is not readable by this user, so models in it are treated as absent; its owner can allow it with "
                f"chmod -R a+rX {closed}, or set EMBEDRY_CACHE or HF_HUB_CACHE to a folder that you can read"
            ),
            stacklevel=2,
        )


def _readable(path: Path) -> bool:
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except PermissionError:
        raise
    except OSError:  # it does not exist, a part of its path is a file, or its links go in circles
        return False
    if regular and not os.access(path, os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return regular


def _outermost_closed(path: Path) -> Path:
    return next((folder for folder in reversed(path.parents) if not os.access(folder, os.X_OK)), path)
