"""Lists and clears the cache folder: models, graphs, vectors and indexes."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from embedry._files import artifacts, cache, digests
from embedry.errors import CacheError, OptionError
from embedry.options import VECTORS

CachedKind = Literal["model", "graph", "vectors", "index"]
"""A model's files; a graph that an engine built from them; vectors of `resolve(..., vector_cache=True)`; an index of folders."""

INDEXES = "indexes"
"""The folder in the cache for indexes of folders."""


class CachedItem(NamedTuple):
    """A model, a graph, a vector cache or an index."""

    kind: CachedKind
    name: str
    """For display: a model's name, or "the graph of 'all-MiniLM-L6-v2'"."""
    size: int
    """Bytes on disk."""
    path: Path
    """A folder or a file, which is removed as a whole."""


def list_cached(cache_dir: str | Path | None = None) -> list[CachedItem]:
    """The items in the cache folder, sorted by kind and name, without the small records of verified files.

    Args:
        cache_dir: the cache folder; by default `EMBEDRY_CACHE` or the platform's.

    Raises:
        CacheError: this user cannot read the folder.
    """
    folder = _folder(cache_dir)
    try:
        found = [
            CachedItem(kind, name(path), _size(path), path)
            for kind, subfolder, name in _PLACES
            for path in _content(folder / subfolder)
        ]
    except PermissionError as error:
        raise CacheError(f"the cache folder {folder} is not readable by this user: {error}") from error
    return sorted(found, key=lambda item: (get_args(CachedKind).index(item.kind), item.name, item.path))


def clear_cache(items: Sequence[CachedItem] | None = None, *, cache_dir: str | Path | None = None) -> int:
    """Removes items, or everything, from the cache, and returns the number of bytes freed.

    Models that are loaded stay in memory. Removed items are downloaded or built again when they are needed.

    Args:
        items: items of `list_cached(cache_dir)`; None for all items and the records of verified files.
        cache_dir: the cache folder; by default `EMBEDRY_CACHE` or the platform's.

    Raises:
        OptionError: an item is not in the cache folder.
        CacheError: an item cannot be removed.
    """
    folder = _folder(cache_dir)
    removed = list_cached(folder) if items is None else items
    for item in removed:
        if item.path.parent.parent != folder:
            raise OptionError(f"{item.path} is not in the cache folder {folder}; pass its cache_dir")
    records = [folder / digests.FOLDER] if items is None else []
    try:
        for path in [*(item.path for item in removed), *records]:
            for each in with_logs(path):
                cache.discard(each, folder)
    except OSError as error:
        raise CacheError(f"the cache folder {folder} cannot be cleared: {error}") from error
    return sum(item.size for item in removed)


def _folder(cache_dir: str | Path | None) -> Path:
    return Path(cache_dir).expanduser().absolute() if cache_dir else cache.default_folder()


def _model_name(path: Path) -> str:
    return path.name.rpartition("@")[0].replace("--", "/") or path.name


def _repository(path: Path) -> str:
    return path.name.removeprefix("models--").replace("--", "/")


def _about(path: Path) -> str:
    with suppress(OSError):
        return (path / artifacts.ABOUT).read_text(encoding="utf-8")
    return path.name


def _vectors_name(path: Path) -> str:
    return path.name.removesuffix(".sqlite").rsplit("-", 2)[0].replace("--", "/")


_PLACES: tuple[tuple[CachedKind, str, Callable[[Path], str]], ...] = (
    ("model", "models", _model_name),
    ("model", "hub", _repository),
    ("graph", artifacts.FOLDER, _about),
    ("vectors", VECTORS, _vectors_name),
    ("index", INDEXES, lambda path: path.stem),
)


def _content(folder: Path) -> Iterator[Path]:
    """The items of a folder, without hidden files, lock files of the hub client and SQLite logs."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if not path.name.startswith(".") and not path.name.endswith(_LOGS) and path.name != "CACHEDIR.TAG":
                yield path


_LOGS = ("-wal", "-shm")
"""Endings of the files that SQLite keeps beside a database."""


def with_logs(path: Path) -> list[Path]:
    """A file, and those that SQLite keeps beside it if it is a database."""
    return [path, *(path.with_name(path.name + ending) for ending in _LOGS)]


def _size(path: Path) -> int:
    if not path.is_dir():
        return sum(each.stat().st_size for each in with_logs(path) if each.exists())
    return sum(
        os.lstat(os.path.join(root, file)).st_size  # links of the hub's cache count as links
        for root, _, files in os.walk(path)
        for file in files
    )
