"""Splits a text into passages with a maximum number of tokens, at the best boundaries.

The text is tokenized once, which gives the number of tokens before each boundary. Libraries that call a tokenizer for each
candidate boundary take five to ten times as long.
"""

import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from embedry.errors import OptionError
from embedry.options import is_count
from embedry.prepared import Passage

Span = tuple[int, int]
"""Start and end in characters."""

_BOUNDARIES = (
    re.compile(r"\n(?=#{1,6} )"),  # before a heading of Markdown, or a comment of a script
    re.compile(r"\n[^\S\n]*\n\s*"),  # between paragraphs
    re.compile(r"""[.!?\u2026]["')\]\u2019\u201d]*\s+|[\u3002\uff01\uff1f]\s*"""),  # between sentences
    re.compile(r"\n"),
    re.compile(r"\s"),
)
"""Where a passage may end, the best first."""

_HEADING = re.compile(r"^#{1,6} .*$\s*", re.MULTILINE)
"""What belongs to the text after it."""

_TOKENS = 256
"""Of a passage by default, even for models that read more: the vector of a long text resembles nothing in particular."""

_PART_CHARS = 2**18
"""Texts are tokenized in parts of at most so many characters: what the tokenizer returns takes a hundred times as much memory."""


def checked_tokens(tokens: int | None, overlap: int, *, least: int, most: int) -> int:
    """The maximum number of tokens per passage; by default 256, or `most` if that is less.

    Args:
        tokens: the option of `split`.
        overlap: the option of `split`.
        least: the smallest possible maximum: the tokens of an empty text, and one more.
        most: the tokens that the model reads.

    Raises:
        OptionError: `tokens` or `overlap` is out of range.
    """
    wanted = min(_TOKENS, most) if tokens is None else tokens
    if not is_count(wanted) or not least <= wanted <= most:
        raise OptionError(f"tokens must be an integer from {least} to {most}, which the model reads, got {tokens!r}")
    if not is_count(overlap) or not 0 <= overlap < (wanted - least + 1) / 2:
        raise OptionError(
            f"overlap must be an integer from 0, and less than half of the {wanted - least + 1} tokens that a passage has "
            f"room for, got {overlap!r}"
        )
    return wanted


def passages(
    text: str,
    starts_of: Callable[[str], NDArray[np.intp]],
    lengths: Callable[[Sequence[str]], Sequence[int]],
    *,
    tokens: int,
    overlap: int,
) -> Iterator[Passage]:
    """The passages of a text, each of which the model reads to its end; see `split`.

    Args:
        text: any text.
        starts_of: as in `split`.
        lengths: the tokens that the model is given for some texts, with the prompt and special tokens.
        tokens: the most that it is given for a passage.
        overlap: as in `split`.
    """
    room = tokens - lengths([""])[0]
    spans = list(split(text, starts_of, tokens=room, overlap=overlap))
    for (start, end), count in zip(spans, lengths([text[start:end] for start, end in spans]), strict=True):
        if count <= tokens or end - start == 1:
            yield Passage(text[start:end], start, end, count)
        else:  # some tokenizers read the start of a text differently from its middle
            shorter = max(1, room - (count - tokens)) + tokens - room
            for passage in passages(text[start:end], starts_of, lengths, tokens=min(shorter, tokens - 1), overlap=0):
                yield passage._replace(start=start + passage.start, end=start + passage.end)


def split(text: str, starts_of: Callable[[str], NDArray[np.intp]], *, tokens: int, overlap: int) -> Iterator[Span]:
    """The spans of passages without the white space around them, in order.

    A passage ends at the last boundary of the best kind in its second half, so that passages are neither cut in a
    sentence nor much shorter than they may be.

    Args:
        text: any text.
        starts_of: where each token of a text starts, in characters, ascending.
        tokens: the most that a passage has.
        overlap: the most that a passage has in common with the one before it; fewer than half of `tokens`.
    """
    start = 0
    while start < len(text):
        part = text[start : start + _PART_CHARS]
        is_last = start + len(part) == len(text)
        spans = list(_split_part(part, starts_of(part), tokens, overlap))
        # The last one may go on in the next part.
        following = len(part) if is_last or len(spans) == 1 else spans.pop()[0]
        for first, end in spans:
            left, right = _stripped(part, first, end)
            if left < right:
                yield start + left, start + right
        start += following


def _split_part(text: str, starts: NDArray[np.intp], tokens: int, overlap: int) -> Iterator[Span]:
    boundaries = _boundaries(text)
    first, end = 0, 0
    while end < len(text):
        position = int(np.searchsorted(starts, first))
        if position + tokens >= len(starts):
            yield first, len(text)
            return
        least, most = int(starts[position + tokens // 2]), int(starts[position + tokens])
        end = max(_last_boundary(boundaries, least, most), end + 1)
        yield first, end
        again = int(starts[max(int(np.searchsorted(starts, end)) - overlap, 0)])
        first = max(_first_boundary(boundaries, again, end), first + 1)


def _boundaries(text: str) -> list[NDArray[np.intp]]:
    """For each kind of boundary the positions after it, ascending."""
    after_heading = {match.end() for match in _HEADING.finditer(text)}
    return [
        np.array([end for match in kind.finditer(text) if (end := match.end()) not in after_heading], dtype=np.intp)
        for kind in _BOUNDARIES
    ]


def _last_boundary(boundaries: Sequence[NDArray[np.intp]], least: int, most: int) -> int:
    """The last one of the best kind in a range; its end where there is none, as in one endless word."""
    for kind in boundaries:
        place = int(np.searchsorted(kind, most, side="right")) - 1
        if place >= 0 and kind[place] > least:
            return int(kind[place])
    return most


def _first_boundary(boundaries: Sequence[NDArray[np.intp]], least: int, end: int) -> int:
    """The first one of the best kind in the overlap; `end` where there is none."""
    for kind in boundaries:
        place = int(np.searchsorted(kind, least))
        if place < len(kind) and kind[place] < end:
            return int(kind[place])
    return end


def _stripped(text: str, first: int, end: int) -> Span:
    inside = text[first:end]
    return first + len(inside) - len(inside.lstrip()), first + len(inside.rstrip())
