"""Reads text files and splits them into passages that fit a model."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from embedry_cli import formats

_SHORT = 0.3
"""Paragraphs are merged until a passage reaches this share of its maximum length."""

_PROBE = 8192
"""Bytes read to detect a binary file."""

_CHARS_PER_TOKEN = 3
"""Fewer than in ordinary text, so that passages are rarely truncated."""

_LONGEST = 1000
"""Maximum characters of a passage, even for models with longer inputs: vectors of long texts are less specific."""

_LARGEST_MB = 64
"""Maximum size of a file, even if it is passed explicitly, because a file is read as a whole."""


class Passage(NamedTuple):
    """Consecutive lines of a file."""

    file: str
    line: int
    """The number of the first line, from 1."""
    text: str


class NotTextError(Exception):
    """Why a file is skipped."""


def longest(tokens: int) -> int:
    """The maximum characters of a passage for a model that reads `tokens` tokens."""
    return min(_LONGEST, _CHARS_PER_TOKEN * tokens)


def read(path: str) -> str:
    """The content of a text file.

    Raises:
        NotTextError: the file is binary, not UTF-8, too large, or not readable.
    """
    try:
        with open(path, "rb") as file:
            return _content(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotTextError("not UTF-8") from error
    except OSError as error:
        raise NotTextError(f"not readable ({error.strerror})") from error


def looks_like_text(path: str) -> bool:
    """Whether the first bytes of a file look like text."""
    try:
        with open(path, "rb") as file:
            _check(file.read(_PROBE))
    except (NotTextError, OSError):
        return False
    return True


def split(file: str, text: str, most: int) -> Iterator[Passage]:
    """Splits a text into passages: merges short paragraphs, and cuts long ones between lines or else between words."""
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
    """Whether a line is a Markdown heading or a comment, which belongs to the text after it."""
    return line.startswith("#") and any(other and not other.startswith("#") for other in before)


def _short_lines(text: str, most: int) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip()
        if len(line) <= most:
            yield number, line
        else:
            yield from ((number, piece) for piece in textwrap.wrap(line, most))


def _content(file: BinaryIO) -> bytes:
    content = file.read(_PROBE)  # checked first, so that a large binary file is not read completely
    _check(content)
    content += file.read(_LARGEST_MB * 1_000_000)
    if b"\0" in content:
        raise NotTextError("binary")
    if file.read(1):
        raise NotTextError(f"larger than {_LARGEST_MB} MB")
    return content


def _check(start: bytes) -> None:
    if formats.other_encoding(start):
        raise NotTextError("not UTF-8")
    if formats.has_signature(start) or b"\0" in start:
        raise NotTextError("binary")
