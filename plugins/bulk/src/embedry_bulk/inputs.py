"""The files of a job: which they are, what identifies them, and whether they are still the same."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import fsspec

from embedry_bulk.errors import ChangedInputError, InputError
from embedry_bulk.folder import sha256, tried

Kind = Literal["parquet", "jsonl", "csv", "tsv"]

_KINDS: dict[str, Kind] = {
    ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv",
}  # fmt: skip
COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".lz4": "lz4"}
"""The codec of Arrow by the extension."""
_TAGS = ("ETag", "etag", "md5Hash", "content_md5", "crc32c", "checksum")
"""Where object stores say what identifies an object's bytes."""


class InputFile(NamedTuple):
    """A file, and what identifies its content."""

    url: str
    kind: Kind
    size: int
    """In bytes, as stored."""
    digest: str
    """The sha256 of a file on a disk; of an object in a store, the tag that the store gives its content."""
    modified: int
    """When a file on a disk was modified, in ns; 0 for an object. If it has not changed, the bytes are not read again."""

    def check(self) -> None:
        """Raises ChangedInputError if the file is not what it was when the job was planned."""
        system, path = fsspec.core.url_to_fs(self.url)
        try:
            size, modified = _state(system, path)
        except FileNotFoundError:
            raise ChangedInputError(
                f"{self.url} is missing: it was there when the job was planned; put it back"
            ) from None
        if size == self.size and modified and modified == self.modified:
            return
        if size != self.size or _digest(system, path) != self.digest:
            raise ChangedInputError(
                f"{self.url} has changed since the job was planned: it had {self.size:,} bytes ({self.digest[:16]}), and has "
                f"{size:,} now; put the old file back, or plan a new job in another folder"
            )


def found(names: Sequence[str], kind: Kind | None = None) -> list[InputFile]:
    """The files of a job, in the order of the names, those of a folder or a pattern sorted.

    Args:
        names: files, folders and patterns with `*`; paths, or URLs that fsspec knows.
        kind: the format; None for that of each file's extension.

    Raises:
        InputError: there is no such file, its format is not known, or it is named twice.
    """
    files = [_described(system, path, url, kind) for name in names for system, path, url in _matching(name, kind)]
    seen: set[str] = set()
    for file in files:
        if file.url in seen:
            raise InputError(f"{file.url} is named twice; every row would be embedded twice")
        seen.add(file.url)
    return files


def _matching(name: str, kind: Kind | None) -> Iterator[tuple[Any, str, str]]:
    """The file system, the path and the URL of each file that a name stands for."""
    try:
        system, path = fsspec.core.url_to_fs(name)
        if tried(lambda: system.isdir(path)):
            paths = [each for each in tried(lambda: system.find(path)) if _kind(each) and not _is_hidden(each, path)]
            missing = f"the folder {name} has no file that ends in {', '.join(_KINDS)}"
        elif fsspec.core.has_magic(path):
            paths = tried(lambda: system.glob(path))
            missing = f"no file matches {name}"
        else:
            paths = [path] if tried(lambda: system.exists(path)) else []
            missing = f"there is no file {name}"
    except (ImportError, ValueError) as error:
        raise InputError(f"{name}: {error}") from error
    if not paths:
        raise InputError(missing)
    for each in sorted(paths):
        yield system, each, system.unstrip_protocol(each)


def _described(system: Any, path: str, url: str, kind: Kind | None) -> InputFile:
    kind = kind or _kind(path)
    if kind is None:
        raise InputError(f"{url} does not end in {', '.join(_KINDS)}; name its format: --format jsonl")
    size, modified = _state(system, path)
    return InputFile(url, kind, size, _digest(system, path), modified)


def _state(system: Any, path: str) -> tuple[int, int]:
    if _is_local(system):
        status = Path(path).stat()
        return status.st_size, status.st_mtime_ns
    system.invalidate_cache()
    return tried(lambda: system.info(path))["size"], 0


def _digest(system: Any, path: str) -> str:
    if _is_local(system):
        return sha256(Path(path))
    about = tried(lambda: system.info(path))
    tag = next((about[name] for name in _TAGS if about.get(name)), None)
    return str(tag or tried(lambda: system.ukey(path))).strip('"')


def _kind(path: str) -> Kind | None:
    """The format by the extension, or by the one before that of a compression."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes[-2:]]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
    return _KINDS.get(suffixes[-1]) if suffixes else None


def _is_hidden(path: str, folder: str) -> bool:
    """Whether its name, or that of a folder on the way, starts with a dot or an underscore, as those of unfinished files do."""
    return any(part[0] in "._" for part in Path(path).relative_to(folder).parts)


def _is_local(system: Any) -> bool:
    return "file" in ((system.protocol,) if isinstance(system.protocol, str) else system.protocol)
