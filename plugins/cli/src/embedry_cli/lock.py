"""Implements `embedry lock`: pins an application's models in a file, and compares the file with the current state."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from embedry import LockError, ModelSpec, UnknownModelError, WeightsNotFoundError, _layouts
from embedry._files import cache, hub
from embedry.lock import Lock, LockedModel, read
from embedry.lock_writing import changes, write
from embedry.registry import installed
from embedry_cli import downloads, terminal
from embedry_cli.entries import complete, is_repository
from embedry_cli.errors import InputError, OutputError
from embedry_cli.options import model_names

FILE = "embedry.lock"

LockFile = Annotated[Path, typer.Option("--file", help="The lock file.")]


def lock(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="MODEL", help="Names, aliases or repository ids to add.", autocompletion=model_names),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare the lock file with the registry and the hub.")
    ] = False,
    upgrade: Annotated[
        list[str] | None,
        typer.Option("--upgrade", metavar="MODEL", help="A model in the lock file to update."),
    ] = None,
    file: LockFile = Path(FILE),
) -> None:
    """Pin models in a lock file, with every setting, file, digest and size.

    With --check, writes nothing; prints a diff and exits with code 1 if anything differs.

    Examples:
        embedry lock all-MiniLM-L6-v2
        embedry lock --check
    """
    if check == bool(models or upgrade):
        raise InputError("give models to lock, --upgrade MODEL, or --check alone")
    if not file.parent.is_dir():
        raise OutputError(f"there is no folder {file.parent} to write {file.name} to")
    known = read(file) if file.exists() or check or upgrade else None
    known = known or Lock(file, {})
    if check:
        _check(known)
        return
    upgraded = {name: _today(known, name) for name in (known.find(each).name for each in upgrade or ())}
    added = _added(known, models or ())
    # Another command may have added to the file during the downloads, which take minutes.
    before = dict(read(file).models) if file.exists() else {}
    after = {name: model for name, model in before.items() if name not in upgraded} | added | _named(upgraded.values())
    if after == before:
        terminal.note(f"{file} is up to date")
        return
    try:
        write(file, after)
    except OSError as error:
        raise OutputError(f"the lock file {file} cannot be written: {error.strerror}") from None
    for name in after:
        if before.get(name) != after[name]:
            size = sum(after[name].sizes.values()) / 1e6
            terminal.note(f"locked {name}: {terminal.counted(len(after[name].sizes), 'file')}, {size:,.0f} MB")


def _check(known: Lock) -> None:
    today = []
    for name in known.models:
        try:
            today.append(_today(known, name))
        except UnknownModelError as error:  # the model no longer exists, as the diff shows
            terminal.note(str(error))
    lines = list(changes(known, _named(today)))
    if not lines:
        terminal.note(f"{known.path} is up to date")
        return
    typer.echo("\n".join(map(terminal.shown, lines)))
    raise typer.Exit(1)


def _named(models: Iterable[LockedModel]) -> dict[str, LockedModel]:
    """Models by their current names: a repository may since have been registered under another name."""
    return {model.spec.name: model for model in models}


def _added(known: Lock, names: Iterable[str]) -> dict[str, LockedModel]:
    """The models that are not in the lock file yet. Models already in it are not looked up."""
    specs = [_unlocked(name) for name in names if known.get(name) is None]
    return {spec.name: _locked(spec) for spec in specs if spec.name not in known.models}


def _today(known: Lock, name: str) -> LockedModel:
    """A model as it would be locked now. Keeps the application's own calibration while the files are unchanged."""
    was, today = known.models[name].spec, _registered_today(known, name)
    is_own = was.int8 is not None and was.int8.calibration.package is None
    if is_own and dict(today.spec.files) == dict(was.files):
        return replace(today, spec=replace(today.spec, int8=was.int8))
    return today


def _registered_today(known: Lock, name: str) -> LockedModel:
    """The current state of a locked model in the registry or on the hub. Does not download new weights."""
    was = known.models[name]
    spec = _unlocked(name)
    if spec.revision == was.spec.revision:  # for files without a digest in the entry, use the locked digest
        spec = replace(spec, files={file: digest or was.spec.files.get(file) for file, digest in spec.files.items()})
    if dict(spec.files) == dict(was.spec.files):
        return LockedModel(replace(spec, size_mb=spec.size_mb or was.spec.size_mb), was.sizes)
    if spec.repo is None or spec.revision is None:
        return _locked(spec)
    on_hub = hub.files(spec.repo, spec.revision)
    missing = [file for file in spec.files if file not in on_hub]
    if missing:
        raise WeightsNotFoundError(
            f"{name!r} cannot be locked as it is today: {spec.repo} at {spec.revision} lacks {', '.join(missing)}; "
            f"{known.path} stays as it is"
        )
    # Small files, for which the hub has no SHA-256, and files of a mirror without metadata.
    unknown = [
        file for file, digest in spec.files.items() if not (digest or on_hub[file].sha256) or not on_hub[file].size
    ]
    folder = hub.download(spec.repo, spec.revision, unknown, cache.default_folder())
    return complete(spec, folder, on_hub)


def _unlocked(name: str) -> ModelSpec:
    """The currently registered entry, or the one that the current files on the hub describe."""
    spec = installed().find(name)
    if spec is not None:
        return spec
    if not is_repository(name):
        raise installed().unknown(name)
    return _layouts.from_hub_at(name, None, cache.default_folder())


def _locked(spec: ModelSpec) -> LockedModel:
    """The entry with the digest and size of every file. Downloads the files if necessary."""
    if spec.folder is not None:
        raise LockError(
            f"{spec.name!r} is a folder of this machine, {spec.folder}, which no other machine has; lock a repository"
        )
    return complete(spec, downloads.pulled(spec).folder)
