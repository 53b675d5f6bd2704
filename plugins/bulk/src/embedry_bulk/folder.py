"""The folder of a job, on a disk or on any other file system that fsspec supports.

Files appear atomically: each is written elsewhere first, and then renamed or uploaded in one step.
"""

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

import fsspec

from embedry._files import makers
from embedry_bulk.errors import OutputError

Result = TypeVar("Result")

_TEMPORARY = "tmp"
"""The folder inside a job's, where processes write what is not complete: each in a folder of its own, with its mark."""

_ABANDONED_AFTER = 24 * 3600
"""Seconds after which what a process of another machine has not changed counts as abandoned."""

_SILENT_AFTER = 10 * 60
"""Seconds after which it no longer counts as being at work. It shows that it is with every block of texts."""

_TRIES = 5
"""Of a request to an object store, which answers some with an error at any time."""


class Folder(Protocol):
    """The interface of a job's folder."""

    url: str

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None if there is none."""

    def read_all(self, folder: str) -> dict[str, bytes]:
        """The bytes of all files of a folder, by their names in it."""

    def sizes(self, folder: str) -> dict[str, int]:
        """The sizes of all files of a folder in bytes, by their names in it."""

    def publish(self, local: Path, name: str) -> None:
        """Moves a complete local file to its place and replaces an existing file. The file is durable when this returns."""

    def remove(self, name: str) -> None:
        """Removes a file, if there is one."""

    def open(self, name: str) -> Any:
        """A file to read from."""

    def others(self) -> set[str]:
        """Names of unfinished files that other running processes are writing."""

    def spool(self) -> Any:
        """A context with a local folder for incomplete files."""


def open_folder(url: str) -> Folder:
    """The folder at a path or a URL.

    Raises:
        OutputError: no installed package supports this kind of URL.
    """
    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise OutputError(f"{url}: {error}") from error
    if is_local(system):
        return LocalFolder(Path(path))
    return RemoteFolder(system, path, url)


def is_local(system: Any) -> bool:
    """Whether an fsspec file system is local."""
    return "file" in ((system.protocol,) if isinstance(system.protocol, str) else system.protocol)


class LocalFolder:
    """A local or mounted folder."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.url = str(self.path)

    def read(self, name: str) -> bytes | None:
        """See `Folder`."""
        try:
            return (self.path / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read_all(self, folder: str) -> dict[str, bytes]:
        """See `Folder`."""
        contents = {name: self.read(f"{folder}/{name}") for name in self.sizes(folder)}
        return {name: content for name, content in contents.items() if content is not None}  # or just removed

    def sizes(self, folder: str) -> dict[str, int]:
        """See `Folder`."""
        found = {}
        with suppress(FileNotFoundError), os.scandir(self.path / folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another process has just removed it
                    if entry.is_file():
                        found[entry.name] = entry.stat().st_size
        return found

    def publish(self, local: Path, name: str) -> None:
        """See `Folder`. `local` is in the folder of `spool`, so on the same file system."""
        final = self.path / name
        try:
            final.parent.mkdir(exist_ok=True)  # but not the job's folder: one that has vanished must be noticed
            sync(local)
            local.replace(final)
            sync(final.parent)
        except OSError as error:
            raise OutputError(f"{final} cannot be written: {error.strerror or error}") from error

    def remove(self, name: str) -> None:
        """See `Folder`."""
        (self.path / name).unlink(missing_ok=True)

    def open(self, name: str) -> Any:
        """See `Folder`."""
        return open(self.path / name, "rb")

    def others(self) -> set[str]:
        """See `Folder`."""
        found: set[str] = set()
        for maker in self._makers():
            if not _is_ours(maker) and not _is_abandoned(maker, _SILENT_AFTER):
                with suppress(OSError):
                    found.update(each.name for each in maker.iterdir())
        return found

    @contextmanager
    def spool(self) -> Iterator[Path]:
        """See `Folder`. Removes files left by killed processes."""
        self._sweep()
        own = self.path / _TEMPORARY / makers.mark()
        try:
            own.mkdir(parents=True)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written to: {error.strerror or error}") from error
        try:
            yield own
        finally:
            shutil.rmtree(own, ignore_errors=True)
            self._sweep()  # again: some that was killed may have ended only after the start
            with suppress(OSError):  # other processes have theirs in it
                own.parent.rmdir()

    def _sweep(self) -> None:
        for maker in self._makers():
            if not _is_ours(maker) and _is_abandoned(maker, _ABANDONED_AFTER):
                shutil.rmtree(maker, ignore_errors=True)

    def _makers(self) -> list[Path]:
        with suppress(OSError), os.scandir(self.path / _TEMPORARY) as entries:
            return [Path(entry.path) for entry in entries if re.fullmatch(makers.PATTERN, entry.name)]
        return []


class RemoteFolder:
    """A folder in an object store, or on any other file system of fsspec. A file appears when its upload is complete."""

    def __init__(self, system: Any, path: str, url: str) -> None:
        self._system = system
        self._path = path.rstrip("/")
        self.url = url.rstrip("/")

    def read(self, name: str) -> bytes | None:
        """See `Folder`."""
        try:
            content: bytes = tried(lambda: self._system.cat_file(self._at(name)))
        except FileNotFoundError:
            return None
        return content

    def read_all(self, folder: str) -> dict[str, bytes]:
        """See `Folder`. Reads files concurrently if the file system supports it."""
        names = list(self.sizes(folder))
        paths = [self._at(f"{folder}/{name}") for name in names]
        contents = tried(lambda: self._system.cat(paths)) if paths else {}
        if isinstance(contents, bytes):  # some file systems give those of a single file so
            return {names[0]: contents}
        return {name: contents[path] for name, path in zip(names, paths, strict=True)}

    def sizes(self, folder: str) -> dict[str, int]:
        """See `Folder`."""
        self._system.invalidate_cache()
        try:
            found = tried(lambda: self._system.ls(self._at(folder), detail=True))
        except FileNotFoundError:
            return {}
        return {each["name"].rsplit("/", 1)[-1]: each["size"] for each in found if each["type"] == "file"}

    def publish(self, local: Path, name: str) -> None:
        """See `Folder`."""
        try:
            tried(lambda: self._system.put_file(str(local), self._at(name)))
        except OSError as error:
            raise OutputError(f"{self.url}/{name} cannot be written: {error}") from error

    def remove(self, name: str) -> None:
        """See `Folder`."""
        with suppress(FileNotFoundError):
            tried(lambda: self._system.rm_file(self._at(name)))

    def open(self, name: str) -> Any:
        """See `Folder`."""
        return self._system.open(self._at(name), "rb")

    def others(self) -> set[str]:
        """See `Folder`. An object store does not list unfinished uploads."""
        return set()

    @contextmanager
    def spool(self) -> Iterator[Path]:
        """See `Folder`."""
        with tempfile.TemporaryDirectory(prefix="embedry-bulk-") as folder:
            yield Path(folder)

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"


def tried(request: Callable[[], Result]) -> Result:
    """The result of a network request, retried if it fails. A missing file is not retried."""
    for attempt in range(1, _TRIES + 1):
        try:
            return request()
        except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError):
            raise
        except OSError:
            if attempt == _TRIES:
                raise
            time.sleep(0.2 * 2**attempt)
    raise AssertionError("unreachable")


def sha256(path: Path) -> str:
    """The sha256 of a local file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Flushes a file, or the entries of a folder, to disk."""
    if os.name != "posix" and path.is_dir():  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_ours(maker: Path) -> bool:
    place, process = _made_by(maker)
    return place == makers.place() and process == os.getpid()


def _is_abandoned(maker: Path, after: float) -> bool:
    """Whether the process has ended; if that is unknown, whether it has changed nothing for this many seconds."""
    dead = makers.is_dead(*_made_by(maker))
    if dead is not None:
        return dead
    try:
        return time.time() - maker.stat().st_mtime > after
    except OSError:  # it has just been removed
        return True


def _made_by(maker: Path) -> tuple[str, int]:
    match = re.fullmatch(makers.PATTERN, maker.name)
    assert match is not None  # noqa: S101  `_makers` gives no others
    return match[1], int(match[2])
