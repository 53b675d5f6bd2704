"""Finds the files of a folder to read, and the reasons for skipping the others."""

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from embedry._files.digests import state_of
from embedry_cli.folder_rules import Rules

LARGEST_MB = 10
"""Larger files are skipped by default: most contain data, and take longer than all other files together."""


class Entry(NamedTuple):
    """A file, or a skipped file or folder."""

    name: str
    """The path relative to the folder; empty if the folder itself is a file."""
    size: int
    """Size in bytes."""
    state: str
    """A value that changes when the file changes; see `digests.state_of`."""
    skipped: str | None
    """Why the file is skipped; None if it is not."""


class Walk:
    """Walks folders, and yields each file once, under the first of its names."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()

    def entries(self, folder: str, *, largest: int = LARGEST_MB) -> Iterator[Entry]:
        """Yields the contents of a folder recursively; the files of each folder come before its subfolders.

        Skips hidden files, files that `.gitignore` excludes, special files and large files. Does not follow symbolic
        links to folders.

        Args:
            folder: an absolute path. It may be a file, or a hidden or ignored folder; it is never skipped itself.
            largest: maximum size of a file, in MB.
        """
        if not Path(folder).is_dir():
            yield from self._named(folder)
            return
        rules = Rules.above(folder)
        prefix = len(os.path.join(folder, ""))
        waiting = [(folder, Rules() if rules.leave_out(folder, is_folder=True) else rules)]
        while waiting:
            path, rules = waiting.pop()
            name = path[prefix:]
            try:
                with os.scandir(path) as found:
                    content = sorted(found, key=lambda each: each.name)
            except OSError as error:
                yield _skipped(name, f"not readable ({error.strerror})")
                continue
            rules = rules.within(path)
            folders = []
            for each in content:
                if each.name.startswith("."):
                    yield _skipped(os.path.join(name, each.name), "hidden")
                elif each.is_dir(follow_symlinks=False):
                    if rules.leave_out(each.path, is_folder=True):
                        yield _skipped(os.path.join(name, each.name), "ignored by .gitignore")
                    else:
                        folders.append((each.path, rules))
                else:
                    yield from self._file(each, os.path.join(name, each.name), rules, largest)
            waiting += reversed(folders)

    def _file(self, found: "os.DirEntry[str]", name: str, rules: Rules, largest: int) -> Iterator[Entry]:
        try:
            status = found.stat()
        except OSError as error:
            yield _skipped(name, f"not readable ({error.strerror})")
            return
        if stat.S_ISDIR(status.st_mode) or not self._is_new(status):  # a link to a folder may lead back here
            return
        reason = None
        if not stat.S_ISREG(status.st_mode):  # reading a pipe, a socket or a device may never end
            reason = "not a regular file"
        elif rules.leave_out(found.path, is_folder=False):
            reason = "ignored by .gitignore"
        elif status.st_size > largest * 1_000_000:
            reason = f"larger than {largest} MB"
        yield Entry(name, status.st_size, state_of(status), reason)

    def _named(self, path: str) -> Iterator[Entry]:
        status = Path(path).stat()
        if self._is_new(status):
            yield Entry("", status.st_size, state_of(status), None)

    def _is_new(self, status: os.stat_result) -> bool:
        identity = (status.st_dev, status.st_ino)
        if identity in self._seen:
            return status.st_ino == 0  # on Windows, directory entries have no inode number
        self._seen.add(identity)
        return True


def reasons(skipped: Mapping[str, int]) -> str:
    """Formats the numbers of skipped files by reason."""
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(skipped.items()))


def _skipped(name: str, reason: str) -> Entry:
    return Entry(name, 0, "", reason)
