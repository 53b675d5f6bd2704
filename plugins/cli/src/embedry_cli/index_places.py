"""Locates index files: one file per folder and vector space, in the cache folder."""

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
    """The file of an index. Its name has a readable part, a digest of the folder and the fingerprint of the space."""
    words = (re.sub(r"[^\w.]+", "-", text)[-40:].strip("-") for text in (Path(facts.folder).name, facts.model))
    return _home() / f"{'-'.join(words)}-{_digest(facts.folder)}-{facts.fingerprint}{_SUFFIX}"


def indexes(folder: str | None = None) -> list[Path]:
    """The indexes of a folder (an absolute path), or all indexes, latest first."""
    digest = folder and _digest(folder)
    try:
        found = [path for path in _home().iterdir() if path.suffix == _SUFFIX and not path.name.startswith(".")]
    except FileNotFoundError:
        return []
    chosen = [path for path in found if digest is None or path.stem.split("-")[-2:-1] == [digest]]
    return sorted(chosen, key=lambda path: path.stat().st_mtime, reverse=True)


def fingerprint_of(index: Path) -> str:
    """The fingerprint of an index's space, taken from the file name."""
    return index.stem.rpartition("-")[2]


def covering(path: str) -> Iterator[tuple[Path, str]]:
    """Yields the indexes of a folder and of its parent folders, nearest first.

    Args:
        path: a file or folder, as an absolute path.

    Yields:
        An index, and the path relative to the indexed folder.
    """
    for folder in (Path(path), *Path(path).parents):
        for index in indexes(str(folder)):
            inside = str(Path(path).relative_to(folder))
            yield index, "" if inside == os.curdir else inside


def _home() -> Path:
    return cache.default_folder() / INDEXES


def _digest(folder: str) -> str:
    return sha256(os.fsencode(folder)).hexdigest()[:12]
