"""Implements the rules of `.gitignore` files."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

_FILE = ".gitignore"


class Rules:
    """The `.gitignore` files that apply to a folder: its own and those of its parent folders."""

    def __init__(self, files: "Sequence[_File]" = ()) -> None:
        self._files = files

    @classmethod
    def above(cls, folder: str) -> "Rules":
        """The rules of the parents of a folder (an absolute path), up to the root of its Git repository, if any."""
        files: list[_File] = []
        while not os.path.lexists(os.path.join(folder, ".git")):
            parent = str(Path(folder).parent)
            if parent == folder:
                return cls()
            files[:0] = _of(parent)
            folder = parent
        return cls(files)

    def within(self, folder: str) -> "Rules":
        """The rules that apply to a direct subfolder (an absolute path)."""
        own = _of(folder)
        return Rules([*self._files, *own]) if own else self

    def leave_out(self, path: str, *, is_folder: bool) -> bool:
        """Whether a path is ignored. The last matching pattern of the nearest `.gitignore` file decides."""
        verdicts = (file.verdict(path, is_folder) for file in reversed(self._files))
        return next((verdict for verdict in verdicts if verdict is not None), False)


class _File:
    """A `.gitignore` file, read on first use."""

    def __init__(self, folder: str) -> None:
        self._path = os.path.join(folder, _FILE)
        self._start = len(os.path.join(folder, ""))

    def verdict(self, path: str, is_folder: bool) -> bool | None:
        """Whether the file ignores a path below its folder; None if no pattern matches."""
        relative = path[self._start :].replace(os.sep, "/")
        return self._patterns.check_file(relative + "/" * is_folder).include

    @cached_property
    def _patterns(self) -> "GitIgnoreSpec":
        from pathspec import GitIgnoreSpec  # imported only if there is such a file

        try:
            lines = Path(self._path).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:  # like Git, continue without an unreadable file
            lines = []
        return GitIgnoreSpec.from_lines(filter(_is_valid, lines), backend="simple")


def _of(folder: str) -> list[_File]:
    return [_File(folder)] if Path(folder, _FILE).is_file() else []


def _is_valid(line: str) -> bool:
    """Whether a line is a valid pattern. Git skips invalid ones."""
    from pathspec import GitIgnoreSpec

    try:
        GitIgnoreSpec.from_lines([line], backend="simple")
    except ValueError:
        return False
    return True
