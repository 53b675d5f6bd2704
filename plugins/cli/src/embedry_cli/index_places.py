"""Where indexes are: one file for each folder and vector space, in the cache folder."""

import os
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from embedry._files import cache
from embedry.cached import INDEXES
from embedry_cli.index_store import Facts

_SUFFIX = ".sqlite"


def place(facts: Facts) -> Path:
    """The file of an index: named for people, and found by its folder and its space."""
    words = (re.sub(r"[^\w.]+", "-", text)[-40:].strip("-") for text in (Path(facts.folder).name, facts.model))
    return _home() / f"{'-'.join(words)}-{_digest(facts.folder)}-{facts.fingerprint}{_SUFFIX}"


def indexes(folder: str | None = None) -> list[Path]:
    """The indexes of a folder, an absolute path, or all there are, the latest first."""
    digest = folder and _digest(folder)
    try:
        found = [path for path in _home().iterdir() if path.suffix == _SUFFIX and not path.name.startswith(".")]
    except FileNotFoundError:
        return []
    chosen = [path for path in found if digest is None or path.stem.split("-")[-2:-1] == [digest]]
    return sorted(chosen, key=lambda path: path.stat().st_mtime, reverse=True)


def fingerprint_of(index: Path) -> str:
    """The fingerprint of an index's space, from its name."""
    return index.stem.rpartition("-")[2]


def covering(path: str) -> Iterator[tuple[Path, str]]:
    """The indexes of a folder, and of those that it is in, the nearest first.

    Args:
        path: a file or folder, as an absolute path.

    Yields:
        An index, and where the path is in its folder.
    """
    for folder in (Path(path), *Path(path).parents):
        for index in indexes(str(folder)):
            inside = str(Path(path).relative_to(folder))
            yield index, "" if inside == os.curdir else inside


def _home() -> Path:
    return cache.default_folder() / INDEXES


def _digest(folder: str) -> str:
    return sha256(os.fsencode(folder)).hexdigest()[:12]
