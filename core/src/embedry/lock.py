"""The lock file of an application: its models, each with the complete entry and the digest and size of every file.

With `EMBEDRY_LOCK` or `use_lock`, `resolve` takes entries only from the lock file. They replace entries of plugins; models and
files that are not in the lock file are rejected. embedry does not search folders for a lock file.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from embedry.errors import LockError, SpecError, some
from embedry.resources import Resource
from embedry.spec import ModelSpec

VARIABLE = "EMBEDRY_LOCK"

FORMAT = 1
"""The version of the file format."""


@dataclass(frozen=True)
class LockedModel:
    """One model of a lock file."""

    spec: ModelSpec
    sizes: Mapping[str, int]
    """Path inside the repository -> bytes."""


@dataclass(frozen=True)
class Lock:
    """A lock file."""

    path: Path
    models: Mapping[str, LockedModel]
    """By name."""

    def get(self, name: str) -> ModelSpec | None:
        """The locked entry with this name, or else this alias or repository id, ignoring case; None if there is none.

        Raises:
            LockError: several models have this name.
        """
        key = name.lower()
        specs = [model.spec for model in self.models.values()]
        found = [spec for spec in specs if spec.name.lower() == key] or [
            spec for spec in specs if key in (other.lower() for other in (*spec.aliases, spec.repo or spec.name))
        ]
        if len(found) > 1:
            raise LockError(
                f"{name!r} may be any of {', '.join(spec.name for spec in found)} in the lock file {self.path}; "
                "use a name that only one of them has"
            )
        return self._located(found[0]) if found else None

    def _located(self, spec: ModelSpec) -> ModelSpec:
        """The entry with the absolute path of its calibration, if that is a file beside the lock file."""
        if spec.int8 is None or spec.int8.calibration.package is not None:
            return spec
        calibration = spec.int8.calibration
        path = str(self.path.parent / calibration.path)
        return replace(spec, int8=replace(spec.int8, calibration=replace(calibration, path=path)))

    def find(self, name: str) -> ModelSpec:
        """The locked entry with this name, alias or repository id.

        Raises:
            LockError: no model or several models in the lock have this name.
        """
        spec = self.get(name)
        if spec is None:
            raise LockError(f"{self._lacks(name)}; add it: {command('lock', name, '--file', self.path)}")
        return spec

    def check(self, spec: ModelSpec) -> ModelSpec:
        """Compares a `ModelSpec` with the locked entry and returns it, with missing digests from the lock.

        Raises:
            LockError: it is not in the lock, or differs from the locked entry.
        """
        locked = self.get(spec.name)
        if locked is None:
            raise LockError(
                f"{self._lacks(spec.name)}; register it in a plugin, and add it: "
                f"{command('lock', spec.name, '--file', self.path)}"
            )
        files = {file: digest or locked.files.get(file) for file, digest in spec.files.items()}
        whole = replace(spec, folder=None, files=files, size_mb=spec.size_mb or locked.size_mb)
        if whole != locked:
            theirs, ours = whole.to_dict(), locked.to_dict()
            keys = sorted(key for key in theirs.keys() | ours.keys() if theirs.get(key) != ours.get(key))
            raise LockError(
                f"the entry of {spec.name!r} differs from the one in the lock file {self.path} in {', '.join(keys)}; "
                f"use the registered entry: {command('lock', '--upgrade', spec.name, '--file', self.path)}"
            )
        return replace(locked, folder=spec.folder)

    def sizes_of(self, spec: ModelSpec) -> Mapping[str, int] | None:
        """The locked sizes of an entry's files; None if its files are not those of this lock."""
        model = self.models.get(spec.name)
        return model.sizes if model is not None and model.spec.files == spec.files else None

    def check_sizes(self, spec: ModelSpec, folder: Path) -> None:
        """Compares the sizes in the lock with files whose digests match, in case the lock was edited.

        Raises:
            LockError: a size differs.
        """
        for file, size in self.models[spec.name].sizes.items():
            actual = (folder / file).stat().st_size
            if actual != size:
                raise LockError(
                    f"{file} of {spec.name!r} has {actual:,} bytes and the digest that the lock file {self.path} names, which "
                    f"says {size:,} bytes; restore the lock file, or delete the model there and add it again: "
                    f"{command('lock', spec.name, '--file', self.path)}"
                )

    def user_of(self, resource: Resource) -> str | None:
        """The name of a locked model that uses this resource."""
        return next(
            (
                name
                for name, model in self.models.items()
                if resource == model.spec.golden or (model.spec.int8 and resource == model.spec.int8.calibration)
            ),
            None,
        )

    def _lacks(self, name: str) -> str:
        has = some(sorted(self.models), 8) or "no models"
        return f"{name!r} is not in the lock file {self.path}, which has {has}"


def command(*arguments: object) -> str:
    """An `embedry` command for a message, quoted for a shell."""
    import shlex

    return shlex.join(["embedry", *map(str, arguments)])


_chosen: Path | None = None
_read: tuple[tuple[Path, int, int, int], Lock] | None = None
"""The lock that was read last, and the path, inode, size and modification time of its file."""


def use_lock(path: str | Path | None) -> None:
    """Makes `resolve` take models only from a lock file, in this process and its forks.

    Existing embedders do not change, and unpickled embedders keep their entries.

    Args:
        path: the lock file; None for the one in `EMBEDRY_LOCK`, if that is set.

    Raises:
        LockError: the file is missing or damaged, or has a newer format.
    """
    global _chosen
    chosen = _absolute(path) if path is not None else None
    if chosen is not None:
        _load(chosen)
    _chosen = chosen


def in_use() -> Lock | None:
    """The lock in use, read again if the file has changed; None if there is none.

    Raises:
        LockError: see `read`.
    """
    if _chosen is None and not os.environ.get(VARIABLE):
        return None
    return _load(_chosen or _absolute(os.environ[VARIABLE]))


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().absolute()


def _load(path: Path) -> Lock:
    global _read
    try:
        status = path.stat()
    except (OSError, ValueError):
        return read(path)  # raises the error
    # The inode shows that a lock was replaced within one tick of the file system's clock.
    key = path, status.st_ino, status.st_size, status.st_mtime_ns
    known = _read
    if known is None or known[0] != key:
        known = _read = key, read(path)
    return known[1]


def read(path: Path) -> Lock:
    """Parses a lock file.

    Raises:
        LockError: the file is missing or damaged, or has an unknown format; the message says where.
    """
    import tomllib

    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except IsADirectoryError:
        raise LockError(f"the lock file {path} is a folder; name the file, such as {path / 'embedry.lock'}") from None
    except OSError as error:  # its own text repeats the path
        raise LockError(
            f"the lock file {path} cannot be read: {error.strerror}; write one: {command('lock', 'MODEL', '--file', path)}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise LockError(f"the lock file {path} cannot be read: {error}; restore it, or {_anew(path)}") from None
    format_ = data.get("format")
    if type(format_) is not int or format_ != FORMAT:
        fix = "pip install --upgrade embedry-core" if type(format_) is int and format_ > FORMAT else "restore it"
        raise LockError(
            f"the lock file {path} has format {format_!r}, but this version of embedry reads {FORMAT}; {fix}, or {_anew(path)}"
        )
    models = data.get("models", {})
    if not isinstance(models, dict) or data.keys() - {"format", "models"}:
        raise LockError(
            f"the lock file {path} must have format and [models.NAME] only, got {', '.join(data)}; "
            f"restore it, or {_anew(path)}"
        )
    return Lock(path, {name: _model(path, name, entry) for name, entry in models.items()})


def _anew(path: Path) -> str:
    return f"delete it and write it again: {command('lock', 'MODEL', '--file', path)}"


def _model(path: Path, name: str, entry: Any) -> LockedModel:
    place = f"[models.{json.dumps(name)}] of the lock file {path}"
    fix = f"restore it, or delete it there and add the model again: {command('lock', name, '--file', path)}"
    files = entry.get("files") if isinstance(entry, dict) else None
    if not isinstance(files, dict):
        raise LockError(f"{place} must be a table with its files, got {entry!r}; {fix}")
    for key in ("name", "folder"):  # the table has the name, and a folder is of one machine
        if key in entry:
            raise LockError(f"{place} must not have the key {key!r}; {fix}")
    for file, about in files.items():
        stated = about if isinstance(about, dict) else {}
        sha256, size = stated.get("sha256"), stated.get("size")
        if stated.keys() != {"sha256", "size"} or not isinstance(sha256, str) or type(size) is not int or size < 0:
            raise LockError(f"{place}: the file {file!r} must have sha256 and size only, got {about!r}; {fix}")
    digests = {file: about["sha256"] for file, about in files.items()}
    try:
        spec = ModelSpec.from_dict(entry | {"name": name, "files": digests})
    except SpecError as error:
        raise LockError(
            f"{place} is not an entry of this version: {error}; pip install --upgrade embedry-core, or {fix}"
        ) from None
    return LockedModel(spec, {file: about["size"] for file, about in files.items()})
