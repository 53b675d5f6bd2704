"""The folder of a job, on a disk or on any other file system that fsspec knows.

Whatever appears in it appears whole: a file is written elsewhere first, and then renamed or uploaded in one step.
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
    """What a job needs of its folder."""

    url: str

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None if there is none."""

    def read_all(self, folder: str) -> dict[str, bytes]:
        """The bytes of all files of a folder, by their names in it."""

    def sizes(self, folder: str) -> dict[str, int]:
        """The sizes of all files of a folder in bytes, by their names in it."""

    def publish(self, local: Path, name: str) -> None:
        """Puts a complete local file in its place, replacing what is there. It is durable when this returns."""

    def remove(self, name: str) -> None:
        """Removes a file, if there is one."""

    def open(self, name: str) -> Any:
        """A file to read from."""

    def others(self) -> set[str]:
        """Names of unfinished files that other processes, which still run, are writing."""

    def spool(self) -> Any:
        """A context with a local folder for what is not complete yet."""


def open_folder(url: str) -> Folder:
    """The folder at a path or a URL.

    Raises:
        OutputError: no installed package knows this kind of URL.
    """
    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise OutputError(f"{url}: {error}") from error
    if is_local(system):
        return LocalFolder(Path(path))
    return RemoteFolder(system, path, url)


def is_local(system: Any) -> bool:
    """Whether a file system of fsspec is that of this machine."""
    return "file" in ((system.protocol,) if isinstance(system.protocol, str) else system.protocol)


class LocalFolder:
    """A folder of this machine, or one that is mounted."""

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
        """See `Folder`. `local` is in the folder that `spool` gave, so on the same file system."""
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
        """See `Folder`. What killed processes left is removed."""
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
    """A folder of an object store, or of anything else that fsspec knows. A file appears there when its upload is complete."""

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
        """See `Folder`. Many files are read at a time, where the file system can."""
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
        """See `Folder`. An object store does not show what is being uploaded."""
        return set()

    @contextmanager
    def spool(self) -> Iterator[Path]:
        """See `Folder`."""
        with tempfile.TemporaryDirectory(prefix="embedry-bulk-") as folder:
            yield Path(folder)

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"


def tried(request: Callable[[], Result]) -> Result:
    """The answer to a request over a network, which is repeated if it fails. What is not there is no failure."""
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
    """Has a file, or the names in a folder, written to the disk."""
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
    """Whether the process has ended; of one that cannot be asked about, whether it has changed nothing for so many seconds."""
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
