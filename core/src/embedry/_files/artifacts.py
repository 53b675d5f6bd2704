"""Artifacts that engines derive from a model's files, such as compiled graphs. They are cached, and checked on use.

A cached artifact is trusted because its key is the digest of all its inputs, and because no other user can have written it;
see `trust`. The digests beside it only detect damage.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from embedry import _log
from embedry._files import cache, digests, trust
from embedry.errors import CacheError

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

_DIGESTS = "digests.json"

ABOUT = "about.txt"
"""The file of an artifact that says what it is, for people."""

FOLDER = "graphs"
"""The folder in the cache that holds artifacts."""

_temporary: "list[TemporaryDirectory[str]]" = []
"""Folders of artifacts that could not be cached. They go with the process, for they may be opened at any time."""


def artifact(
    about: str, build: Callable[[Path], None], cache_dir: Path, *, inputs: Mapping[str, Path], settings: Any
) -> Path:
    """The folder that `build` fills, from the cache if it was built before from the same inputs.

    Where the cache cannot be read, written or trusted it is built in a temporary folder instead, with a `CacheWarning`.

    Args:
        about: what is built, for messages: "the graph of 'all-MiniLM-L6-v2'".
        build: writes the files into an empty folder.
        cache_dir: the cache folder.
        inputs: name -> file that the result is made of; its sha256 is part of the key.
        settings: what else the result depends on, as JSON values.

    Raises:
        CacheError: there is no room anywhere.
        Others: what `build` raises.
    """
    sums = {name: digests.remembered_sha256(file, cache_dir) for name, file in inputs.items()}
    key = hashlib.sha256(json.dumps([settings, sums], sort_keys=True).encode()).hexdigest()[:32]
    final = cache_dir / FOLDER / key
    try:
        cache.subfolder(cache_dir, FOLDER)
        if not _intact(final, cache_dir):
            start = perf_counter()
            _make(about, final, build, cache_dir)
            _log.info("built %s in %.2f s", about, perf_counter() - start)
    except OSError as error:
        return _elsewhere(about, build, cache_dir, reason=error)
    return final


def _intact(final: Path, cache_dir: Path) -> bool:
    """Whether every file is there and is what was written; a damaged artifact is simply built again.

    Raises:
        PermissionError: this user may not read it, or others could have written it.
    """
    trust.require(final, cache_dir)
    if not final.is_dir():
        return False
    files = {file.name for file in final.iterdir()}
    for file in files:
        trust.require(final / file, cache_dir)
    try:
        recorded = json.loads((final / _DIGESTS).read_text(encoding="utf-8"))
        if not isinstance(recorded, dict) or not recorded or set(recorded) != files - {_DIGESTS}:
            return False
        return all(digests.remembered_sha256(final / file, cache_dir) == digest for file, digest in recorded.items())
    except PermissionError:
        raise
    except (OSError, ValueError, RecursionError):
        return False


def _make(about: str, final: Path, build: Callable[[Path], None], cache_dir: Path) -> None:
    trust.require(cache_dir / cache.STAGING, cache_dir)  # who can write there could exchange what is published
    cache.discard(final, cache_dir)  # if it is damaged; what another process puts there from now on is not
    with cache.staging(cache_dir) as staged:
        _fill(about, staged, build)
        cache.publish(staged, final)


def _fill(about: str, folder: Path, build: Callable[[Path], None]) -> None:
    build(folder)
    (folder / ABOUT).write_text(about, encoding="utf-8")
    files = sorted(folder.iterdir())
    written = {file.name: digests.sha256(file) for file in files}
    (folder / _DIGESTS).write_text(json.dumps(written), encoding="utf-8")
    for path in (folder, folder / _DIGESTS, *files):
        trust.close(path)


def _elsewhere(about: str, build: Callable[[Path], None], cache_dir: Path, *, reason: OSError) -> Path:
    from tempfile import TemporaryDirectory

    temporary = TemporaryDirectory(prefix="embedry-", ignore_cleanup_errors=True)
    try:
        _fill(about, Path(temporary.name), build)
    except OSError as error:
        raise CacheError(
            f"{about} could be written neither to the cache folder {cache_dir} ({reason}) nor to {temporary.name} ({error}); "
            "set EMBEDRY_CACHE to a folder with room that you can write"
        ) from error
    _temporary.append(temporary)
    cache.warn(cache_dir, reason)
    return Path(temporary.name)
