"""The input files of a job: finding, identifying and checking them."""

import fnmatch
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import fsspec

from embedry_bulk.errors import BulkError, ChangedInputError, InputError, in_a_line
from embedry_bulk.folder import is_local, sha256, tried

Kind = Literal["parquet", "jsonl", "csv", "tsv"]

_KINDS: dict[str, Kind] = {
    ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv",
}  # fmt: skip
COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}
"""The codec of Arrow by the extension."""
_TAGS = ("ETag", "etag", "md5Hash", "content_md5", "crc32c", "checksum")
"""Where object stores say what identifies an object's bytes."""

_UNREADABLE = (ImportError, ValueError, OSError)
"""Raised for URLs of no known file system, and by those that refuse or do not answer."""


class InputFile(NamedTuple):
    """A file with the identity of its content."""

    url: str
    kind: Kind
    size: int
    """In bytes, as stored."""
    digest: str
    """The sha256 of a file on a disk; of an object in a store, the tag that the store gives its content."""
    modified: int
    """When a file on a disk was modified, in ns; 0 for an object. If it has not changed, the bytes are not read again."""

    def check(self) -> None:
        """Compares the file with its state when the job was planned.

        Raises:
            ChangedInputError: it is missing or its content has changed.
            InputError: it cannot be read.
        """
        try:
            system, path = fsspec.core.url_to_fs(self.url)
            size, modified = _state(system, path)
            if size == self.size and modified and modified == self.modified:
                return
            digest = _digest_since(path, modified) if modified else _digest(system, path)
        except FileNotFoundError:
            raise ChangedInputError(
                f"{self.url} is missing: it was there when the job was planned; put it back"
            ) from None
        except _UNREADABLE as error:
            raise _unreadable(self.url, error) from error
        if size != self.size or digest != self.digest:
            raise ChangedInputError(
                f"{self.url} has changed since the job was planned: it had {self.size:,} bytes ({self.digest[:16]}), and has "
                f"{size:,} now; put the old file back, or plan a new job in another folder"
            )

    def is_like(self, other: "InputFile") -> bool:
        """Whether both are the same file with the same content, regardless of modification time."""
        return self._replace(modified=0) == other._replace(modified=0)


def found(names: Sequence[str], kind: Kind | None = None, known: Sequence[InputFile] = ()) -> list[InputFile]:
    """The files of a job, in the order of the names; those of a folder or a pattern are sorted.

    Args:
        names: files, folders and patterns with `*`; paths, or URLs that fsspec supports.
        kind: the format; None to use each file's extension.
        known: files of an earlier plan. A file that has not been modified since is not read again for its digest.

    Raises:
        InputError: a file does not exist, has an unknown format, cannot be read, or is named twice.
    """
    digests = {(file.url, file.size, file.modified): file.digest for file in known if file.modified}
    files: dict[str, InputFile] = {}
    for name in names:
        try:
            for system, path in _matching(name, kind):
                file = _described(system, path, kind, digests)
                if files.setdefault(_identity(system, path, file.url), file) is not file:
                    raise InputError(f"{file.url} is named twice; every row would be embedded twice")
        except _UNREADABLE as error:
            raise _unreadable(name, error) from error
    return list(files.values())


def may_match(name: str, folder: str) -> bool:
    """Whether a folder is inside an input folder or pattern, so that its files would be found as inputs."""
    wanted, place = (_full(each) for each in (name, folder))
    return any(fnmatch.fnmatchcase(above, wanted) or above == wanted for above in _above(place))


def _matching(name: str, kind: Kind | None) -> Iterator[tuple[Any, str]]:
    """The file system and the path of each file that a name matches."""
    system, path = fsspec.core.url_to_fs(name)
    if tried(lambda: system.exists(path)):  # asked first: names may have brackets, too
        matches, missing = (
            [path],
            f"the folder {name} has no file" + ("" if kind else f" that ends in {', '.join(_KINDS)}"),
        )
    elif fsspec.core.has_magic(path):
        matches, missing = _unhidden(tried(lambda: system.glob(path)), path), f"no file matches {name}"
    else:
        raise InputError(f"there is no file {name}")
    paths = dict.fromkeys(
        each for match in matches for each in _files(system, match, kind)
    )  # ** gives folders and files
    if not paths:
        raise InputError(missing)
    for each in paths:
        yield system, each


def _unhidden(matches: Sequence[str], pattern: str) -> list[str]:
    """The matches of a pattern, sorted, without hidden files unless the pattern names them."""
    root = str(Path(re.split(r"[*?\[]", pattern)[0] + "...").parent)
    return sorted(each for each in matches if _is_hidden(pattern, root) or not _is_hidden(each, root))


def _files(system: Any, path: str, kind: Kind | None) -> Sequence[str]:
    """The file itself, or the files of a folder: all if the format is named, else those of known formats."""
    if not tried(lambda: system.isdir(path)):
        return [path]
    inside = sorted(tried(lambda: system.find(path)))
    return [each for each in inside if (kind or _kind(each)) and not _is_hidden(each, path)]


def _described(system: Any, path: str, kind: Kind | None, digests: Mapping[tuple[str, int, int], str]) -> InputFile:
    url = system.unstrip_protocol(path)
    if not is_unicode(url):
        raise InputError(f"the name {url!a} is not UTF-8; rename the file")
    kind = kind or _kind(path)
    if kind is None:
        raise InputError(f"{url} does not end in {', '.join(_KINDS)}; name its format: --format jsonl")
    size, modified = _state(system, path)
    if not size and Path(path).suffix.lower() in COMPRESSED:
        raise InputError(f"{url} is empty, and a compressed file never is: it was cut off")
    digest = digests.get((url, size, modified)) or _digest(system, path)
    return InputFile(url, kind, size, digest, modified)


def _state(system: Any, path: str) -> tuple[int, int]:
    """The size of a file, and when it was modified."""
    if not is_local(system):
        system.invalidate_cache()
        return int(tried(lambda: system.info(path))["size"] or 0), 0
    status = Path(path).stat()
    if not stat.S_ISREG(status.st_mode):  # a pipe can be read only once, and may never end
        raise InputError(f"{path} is not a regular file; write its content to a file first")
    return status.st_size, status.st_mtime_ns


def _digest(system: Any, path: str) -> str:
    if is_local(system):
        return sha256(Path(path))
    about = tried(lambda: system.info(path))
    tag = next((about[name] for name in _TAGS if about.get(name)), None)
    return str(tag or tried(lambda: system.ukey(path))).strip('"')


@lru_cache(maxsize=4096)
def _digest_since(path: str, modified: int) -> str:
    """The digest of a local file, computed once per modification and not once per shard."""
    return sha256(Path(path))


def _identity(system: Any, path: str, url: str) -> str:
    """The identity that two names of one file share."""
    folder, name = os.path.split(path)
    return os.path.join(os.path.realpath(folder), name) if is_local(system) else url


def _kind(path: str) -> Kind | None:
    """The format by the extension, or by the one before a compression extension."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes[-2:]]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return _KINDS.get(suffixes[-1]) if suffixes else None


def _is_hidden(path: str, folder: str) -> bool:
    """Whether its name, or that of a folder on the way, starts with a dot or an underscore, as those of unfinished files do."""
    return any(part[0] in "._" for part in Path(path).relative_to(folder).parts)


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: it has no lone surrogates."""
    return text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text)


def _full(url: str) -> str:
    system, path = fsspec.core.url_to_fs(url)
    return str(system.unstrip_protocol(Path(path).resolve().as_posix() if is_local(system) else path.rstrip("/")))


def _above(url: str) -> Iterator[str]:
    """A URL, and those of the folders that it is in."""
    while url.rstrip("/"):
        yield url
        url = url.rpartition("/")[0]


def _unreadable(name: str, error: Exception) -> BulkError:
    if isinstance(error, BulkError):
        return error
    return InputError(f"{name} cannot be read: {getattr(error, 'strerror', None) or in_a_line(error)}")
