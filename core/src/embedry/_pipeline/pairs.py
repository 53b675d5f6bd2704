"""Converts pairs of texts to token ids: each distinct text is tokenized once, then the pairs are assembled."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embedry._pipeline.tokenizer import Tokenizer
from embedry.errors import IntegrityError
from embedry.transformer import Transformer

Pair = tuple[str, str]
"""A query and a document."""


class ReadPair(NamedTuple):
    """A pair as an engine takes it."""

    row: NDArray[np.int32]
    """Token ids and segment ids, int32 (tokens, 2)."""
    query_truncated: bool
    document_truncated: bool


class ReadText(NamedTuple):
    """One text of a pair."""

    ids: NDArray[np.int32]
    """int32 (tokens,), without special tokens."""
    overflows: bool
    """Whether it has more than there is room for."""


class Step(NamedTuple):
    """What comes next in a pair: one of its texts, or a special token."""

    text: int | None
    """0 for the query, 1 for the document, None for a special token."""
    segment: int
    token: int
    """The special token's id."""


class PairTokenizer:
    """Turns pairs into token ids, as the tokenizer's template for pairs says. Safe from many threads.

    Raises:
        IntegrityError: the file is not a tokenizer, or its template is none for pairs.
    """

    def __init__(self, file: Path, reading: Transformer) -> None:
        self._file = file
        self._left = reading.truncate_left
        self.texts = Tokenizer(file, reading, special=False)
        self._frame: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None
        self._template: list[Step] = []
        if reading.pair is not None:
            before, after = (
                next(self.texts.read([text], 2**20))[0] for text in (reading.pair.before, reading.pair.after)
            )
            self._frame = before, after
            self.special = len(before) + len(after)
        else:
            self._template = self._steps()
            self.special = sum(step.text is None for step in self._template)

    def _steps(self) -> list[Step]:
        """The order of what is in a pair. Raises IntegrityError if that is not a query and then a document."""
        encoding = self.texts.pair()
        steps: list[Step] = []
        for text, segment, token in zip(encoding.sequence_ids, encoding.type_ids, encoding.ids, strict=True):
            step = Step(text, segment, 0 if text is not None else token)
            if text is None or step not in steps:  # a text's other tokens are part of the same step
                steps.append(step)
        if [step.text for step in steps if step.text is not None] != [0, 1]:
            raise IntegrityError(f"{self._file} has no template for pairs of texts")
        return steps

    def check_length(self, max_length: int) -> None:
        """Raises IntegrityError if what stands around the texts leaves no room for a token of each."""
        if self.special + 2 > max_length:
            raise IntegrityError(
                f"{self._file} adds {self.special} tokens to a pair, and max_seq_length={max_length} has no room for two more"
            )

    def read(self, pairs: Sequence[Pair], prompts: Pair, max_length: int) -> list[ReadPair]:
        """At most `max_length` tokens of each pair; of the two texts the longer one is truncated first.

        Args:
            pairs: queries and documents.
            prompts: what is put before each query and each document.
            max_length: special tokens included.
        """
        room = max_length - self.special
        if self._frame is not None:
            return self._read_framed(pairs, prompts, room)
        queries, documents = (self._read_side(pairs, side, prompts[side], room) for side in (0, 1))
        # Of texts with more tokens than there is room for only so many were read, and of two of them it matters which has more.
        full = [pair for pair in pairs if queries[pair[0]].overflows and documents[pair[1]].overflows]
        whole = [prompts[side] + text for side in (0, 1) for text in dict.fromkeys(pair[side] for pair in full)]
        lengths = dict(zip(whole, self.texts.lengths(whole), strict=True))
        found = []
        for query, document in pairs:
            first, second = queries[query], documents[document]
            if first.overflows and second.overflows:
                swap = lengths[prompts[0] + query] > lengths[prompts[1] + document]
            else:
                swap = first.overflows or (len(first.ids) > len(second.ids) and not second.overflows)
            sizes = _truncated_lengths(len(first.ids), len(second.ids), room, swap=swap)
            cut = [self._cut(side.ids, size) for side, size in zip((first, second), sizes, strict=True)]
            truncated = [
                side.overflows or size < len(side.ids) for side, size in zip((first, second), sizes, strict=True)
            ]
            found.append(ReadPair(self._joined(cut), *truncated))
        return found

    def _cut(self, ids: NDArray[np.int32], size: int) -> NDArray[np.int32]:
        return ids[len(ids) - size :] if self._left else ids[:size]

    def lengths(self, pairs: Sequence[Pair], prompts: Pair) -> list[int]:
        """Tokens of whole pairs, special ones included."""
        if self._frame is not None:
            return [self.special + count for count in self.texts.lengths([_text(pair, prompts) for pair in pairs])]
        sides = []
        for side in (0, 1):
            different = list(dict.fromkeys(prompts[side] + pair[side] for pair in pairs))
            sides.append(dict(zip(different, self.texts.lengths(different), strict=True)))
        return [self.special + sum(sides[side][prompts[side] + pair[side]] for side in (0, 1)) for pair in pairs]

    def _read_side(self, pairs: Sequence[Pair], side: int, prompt: str, room: int) -> "dict[str, ReadText]":
        """Each different text of one side, at most `room` tokens of it."""
        different = list(dict.fromkeys(pair[side] for pair in pairs))
        whole = [prompt + text for text in different] if prompt else different
        return {text: ReadText(*read) for text, read in zip(different, self.texts.read(whole, room), strict=True)}

    def _joined(self, texts: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
        row = np.empty((self.special + sum(map(len, texts)), 2), dtype=np.int32)
        at = 0
        for text, segment, token in self._template:
            size = 1 if text is None else len(texts[text])
            row[at : at + size, 0] = token if text is None else texts[text]
            row[at : at + size, 1] = segment
            at += size
        return row

    def _read_framed(self, pairs: Sequence[Pair], prompts: Pair, room: int) -> list[ReadPair]:
        assert self._frame is not None  # noqa: S101
        before, after = self._frame
        found = []
        for ids, is_truncated in self.texts.read([_text(pair, prompts) for pair in pairs], room):
            row = np.zeros((len(ids) + self.special, 2), dtype=np.int32)
            row[:, 0] = np.concatenate([before, ids, after])
            found.append(ReadPair(row, False, is_truncated))
        return found


def _truncated_lengths(first: int, second: int, room: int, *, swap: bool) -> tuple[int, int]:
    """How many tokens of each text are read, as "longest_first" of the tokenizers library (its utils/truncation.rs).

    `swap` is whether the first text is the longer one.
    """
    if first + second <= room:
        return first, second
    shorter = min(first, second)
    longer = max(shorter, room - shorter)
    if shorter + longer > room:
        shorter = room // 2
        longer = room - shorter
    return (longer, shorter) if swap else (shorter, longer)


def _text(pair: Pair, prompts: Pair) -> str:
    return prompts[0] + pair[0] + prompts[1] + pair[1]
