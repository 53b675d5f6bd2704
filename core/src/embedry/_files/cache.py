"""The cache folder, with atomic writes: content is prepared in a staging folder, then moved into place."""

import errno
import os
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from embedry._files import makers, trust
from embedry.errors import CacheWarning

STAGING = "staging"
"""The folder in the cache where things are prepared."""

_ABANDONED_AFTER = 24 * 3600
"""Seconds after which a staging folder counts as abandoned although it is not known whether its process is alive: it may
run on another machine, or its id may have been given to another process."""

_NAME = re.compile(makers.PATTERN)

_in_use: set[str] = set()
"""The staging folders of this process, to tell them from those of an earlier process that had the same id."""

_warned: set[Path] = set()
"""Cache folders that this process has warned of."""


def default_folder() -> Path:
    """`EMBEDRY_CACHE`, or the platform's folder for a user's caches."""
    given = os.environ.get("EMBEDRY_CACHE")
    if given:
        return Path(given).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("embedry", appauthor=False))


def warn(cache_dir: Path, error: OSError) -> None:
    """Warns, once for a cache folder, that it cannot be read, written or trusted, and work goes on without it."""
    if cache_dir not in _warned:
        _warned.add(cache_dir)
        warnings.warn(
            CacheWarning(
                f"the cache folder {cache_dir} cannot be used, so files are verified and graphs compiled again at each "
                f"start: {error}; set EMBEDRY_CACHE to use another folder, with room, that only you can write"
            ),
            stacklevel=2,
        )


def subfolder(cache_dir: Path, name: str) -> Path:
    """The folder of this name in the cache, made if need be. What is made here only its owner can write, see `trust`.

    Raises:
        OSError: it cannot be made.
    """
    folder = cache_dir / name
    cache_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    folder.mkdir(mode=0o755, exist_ok=True)
    return folder


@contextmanager
def staging(cache_dir: Path) -> Iterator[Path]:
    """A new empty folder inside the cache, on the same file system; gone at the end unless it was published.

    It has the mode that the umask gives. Until it is published, only this user can look into it.

    Raises:
        OSError: the cache folder cannot be written, or its folder for staging is a link.
    """
    root = subfolder(cache_dir, STAGING)
    if root.is_symlink():
        raise NotADirectoryError(
            errno.ENOTDIR, "a link; embedry does not write or remove files through links", str(root)
        )
    _sweep(root)
    name = makers.mark()
    _in_use.add(name)
    try:
        (root / name).mkdir(mode=0o700)
        folder = root / name / "new"
        folder.mkdir()
        yield folder
    finally:
        _remove(root / name)
        _in_use.discard(name)


def publish(folder: Path, final: Path) -> None:
    """Moves a finished folder to its place in one step. Who comes first wins: another may have opened what stands there.

    Raises:
        OSError: it cannot be moved.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.rename(final)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise


def discard(folder: Path, cache_dir: Path) -> None:
    """Takes a folder out of the cache in one step, if it is there. Readers keep what they opened.

    Raises:
        OSError: it cannot be moved.
    """
    if os.path.lexists(folder):  # not where this user may not look
        with staging(cache_dir) as aside, suppress(FileNotFoundError):  # another process may be faster
            folder.rename(aside / folder.name)


def write_text(path: Path, text: str, cache_dir: Path) -> None:
    """Writes a small file in the cache so that a reader sees the old content or the new, never a part.

    Only its owner can write it, see `trust`.

    Raises:
        OSError: it cannot be written.
    """
    with staging(cache_dir) as aside:
        new = aside / path.name
        new.write_text(text, encoding="utf-8")
        trust.close(new)
        new.replace(path)


def _sweep(root: Path) -> None:
    """Removes the staging folders of processes that were killed: by our names only, and never through a link."""
    with suppress(OSError), os.scandir(root) as entries:
        for entry in entries:
            name = _NAME.fullmatch(entry.name)
            with suppress(OSError):  # another process may be faster
                if name and entry.is_dir(follow_symlinks=False) and _is_abandoned(entry, name[1], int(name[2])):
                    _remove(Path(entry.path))


def _remove(folder: Path) -> None:
    import shutil  # not needed to read the cache, which is all that most starts do

    shutil.rmtree(folder, ignore_errors=True)


def _is_abandoned(entry: os.DirEntry[str], place: str, process: int) -> bool:
    if place == makers.place() and process == os.getpid():
        return entry.name not in _in_use
    if makers.is_dead(place, process):
        return True
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_AFTER
