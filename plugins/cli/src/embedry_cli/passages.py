"""The text files of folders, cut into passages that fit a model."""

import os
import stat
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from embedry_cli import formats
from embedry_cli.errors import InputError

_SHORT = 0.3
"""Paragraphs are merged until a passage has this part of its maximum length."""

_PROBE = 8192
"""Bytes read to detect a binary file."""

_LARGEST_MB = 64
"""A larger file is skipped, because a file is searched as a whole in memory."""


class Passage(NamedTuple):
    """Some lines of a file."""

    file: str
    line: int
    """The number of the first line, from 1."""
    text: str


def files(paths: Sequence[str], skipped: Counter[str]) -> list[Path]:
    """The files under these paths, each once, in order; hidden ones only where they are named.

    Raises:
        InputError: a path does not exist.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise InputError(f"there is no file or folder {path}")
        found.extend(_below(path, skipped) if path.is_dir() else [path])
    return list({os.path.realpath(path): path for path in reversed(found)}.values())[::-1]


def passages(paths: Iterable[Path], most: int, skipped: Counter[str]) -> Iterator[Passage]:
    """Passages of at most `most` characters, file by file; a file that is not text is counted in `skipped` by reason."""
    for path in paths:
        try:
            text = _text(path)
        except _NotTextError as reason:
            skipped[str(reason)] += 1
        else:
            yield from split(str(path), text, most)


def split(file: str, text: str, most: int) -> Iterator[Passage]:
    """Paragraphs, merged while they are short, and cut between lines, or else between words, where they are long."""
    first, lines, size = 0, list[str](), 0
    for number, line in _short_lines(text, most):
        if not line:
            if lines and lines[-1]:
                lines.append("")
                size += 1
            continue
        at_paragraph = lines and not lines[-1]
        enough = at_paragraph and (size >= most * _SHORT or _opens_section(line, lines))
        if lines and (enough or size + len(line) > most):
            yield Passage(file, first, "\n".join(lines).rstrip())
            lines, size = [], 0
        if not lines:
            first = number
        lines.append(line)
        size += len(line) + 1
    if lines:
        yield Passage(file, first, "\n".join(lines).rstrip())


def _opens_section(line: str, before: Sequence[str]) -> bool:
    """A heading of Markdown, or a comment, belongs to what follows it; one heading after another to the same."""
    return line.startswith("#") and any(other and not other.startswith("#") for other in before)


def _short_lines(text: str, most: int) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip()
        if len(line) <= most:
            yield number, line
        else:
            yield from ((number, piece) for piece in textwrap.wrap(line, most))


class _NotTextError(Exception):
    """Why a file is not searched."""


def _text(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(_PROBE)  # first only this: a large binary file is not read to its end
            if formats.other_encoding(content):
                raise _NotTextError("not UTF-8")
            binary = formats.has_signature(content) or b"\0" in content
            if not binary:
                content += file.read(_LARGEST_MB * 1_000_000)
            if binary or b"\0" in content:
                raise _NotTextError("binary")
            if file.read(1):
                raise _NotTextError(f"larger than {_LARGEST_MB} MB")
            return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _NotTextError("not UTF-8") from error
    except OSError as error:
        raise _NotTextError(f"not readable ({error.strerror})") from error


def _below(folder: Path, skipped: Counter[str]) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        visible = sorted(name for name in folders if not name.startswith("."))
        skipped["hidden"] += len(folders) - len(visible)
        folders[:] = visible  # os.walk goes on into what is left here
        for name in sorted(names):
            path = Path(root, name)
            if name.startswith("."):
                skipped["hidden"] += 1
            elif _is_special(path):
                skipped["not a regular file"] += 1
            else:
                yield path


def _is_special(path: Path) -> bool:
    """Whether it is a pipe, a socket or a device, which may wait or go on for ever."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except OSError:  # opening it will say why
        return False
