"""The cache folder, and how things are put into it whole: prepared aside, then moved into place in one step."""

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ABANDONED_AFTER = 24 * 3600
"""Seconds after which a staging folder is taken for the remains of a killed process."""


def default_folder() -> Path:
    """`EMBEDRY_CACHE`, or the platform's folder for a user's caches."""
    given = os.environ.get("EMBEDRY_CACHE")
    if given:
        return Path(given).expanduser().absolute()
    import platformdirs

    return Path(platformdirs.user_cache_dir("embedry", appauthor=False))


@contextmanager
def staging(cache_dir: Path) -> Iterator[Path]:
    """A new empty folder inside the cache, on the same file system; gone at the end unless it was published.

    Raises:
        OSError: the cache folder cannot be written.
    """
    root = cache_dir / "staging"
    root.mkdir(parents=True, exist_ok=True)
    _sweep(root)
    folder = Path(tempfile.mkdtemp(dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


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
    if folder.exists():
        with staging(cache_dir) as aside, suppress(FileNotFoundError):  # another process may be faster
            folder.rename(aside / folder.name)


def write_text(path: Path, text: str) -> None:
    """Writes a small file so that a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _sweep(root: Path) -> None:
    for folder in root.iterdir():
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > _ABANDONED_AFTER:
                shutil.rmtree(folder, ignore_errors=True)
