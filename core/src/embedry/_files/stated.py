"""The hub's digests of a revision's files: the sha256 of large files, the git blob id of the others.

The hub's client compares only sizes, so downloads are verified here.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embedry._files import digests

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOB_ID = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Difference:
    """A file that is not what the hub states."""

    file: str
    """As a path in the repository."""
    kind: str
    """Of the digests: "sha256" or "git blob"."""
    found: str
    expected: str


def digests_of(files: "Iterable[RepoSibling]") -> Mapping[str, str]:
    """File -> sha256 (64 hex digits) or git blob id (40), for those of which the hub states one."""
    all_stated = ((file.rfilename, file.lfs.sha256 if file.lfs else file.blob_id) for file in files)
    return {
        name: digest
        for name, digest in all_stated
        if digest is not None and (_SHA256.fullmatch(digest) or _BLOB_ID.fullmatch(digest))
    }


def compare(folder: Path, stated: Mapping[str, str], cache_dir: Path) -> list[Difference]:
    """Compares the files in a snapshot folder with what is stated of them, and removes those that differ.

    Of the others it is remembered under `digests.STATED`.

    Raises:
        OSError: one cannot be read or removed.
    """
    different = []
    # Only what lies in the folder is looked at: a name in the hub's answer may be any path.
    for path in [path for path in sorted(folder.rglob("*")) if path.is_file()]:
        expected = stated.get(path.relative_to(folder).as_posix())
        if expected is None:
            continue
        large = _SHA256.fullmatch(expected)
        found = digests.remembered_sha256(path, cache_dir) if large else _blob_id(path)
        if found == expected:
            digests.remembered(path, cache_dir, digests.STATED, lambda _: "yes")
        else:
            _remove(path)
            kind = "sha256" if large else "git blob"
            different.append(Difference(path.relative_to(folder).as_posix(), kind, found, expected))
    return different


def _blob_id(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _remove(path: Path) -> None:
    """Removes a file of a snapshot, and the blob that it is a link to."""
    while path.is_symlink():
        target = path.parent / path.readlink()
        path.unlink()
        path = target
    path.unlink(missing_ok=True)
