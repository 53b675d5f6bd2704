"""Text to token ids, with the model's own tokenizer, and what happens to texts that are too long."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding
from tokenizers import Tokenizer as RustTokenizer

from embedry.config import OnOverflow
from embedry.errors import IntegrityError, TextTooLongError, TruncationWarning

_BLOCK = 1024
"""Texts tokenised at a time: an `Encoding` weighs a hundred times what its ids do, so few are held at once."""

_CHARS_PER_TOKEN = 16
"""Only so much of a text is read at first. Running text has 3 to 6 characters a token, so nearly always this is enough."""

_MOST_CHARS_PER_TOKEN = 2048
"""What lies behind so many characters for each token the model reads is never tokenised, whatever it is."""


class Tokenizer:
    """Turns texts into ids of at most `max_length` tokens. Never changed once made, and so safe from many threads."""

    def __init__(self, file: Path, max_length: int) -> None:
        try:
            self._rust = RustTokenizer.from_file(str(file))
        except Exception as error:  # the binding raises plain Exception
            raise IntegrityError(f"{file} cannot be read as a tokenizer: {error}") from error
        # The file may carry a padding and a length of its own (all-MiniLM-L6-v2: 128); the entry's length holds.
        self._rust.no_padding()
        self._rust.enable_truncation(max_length)
        self.max_length = max_length

    def ids(self, texts: Sequence[str]) -> tuple[list[NDArray[np.int32]], list[int]]:
        """Token ids of each text, special tokens included, and the positions of the texts that were cut."""
        rows: list[NDArray[np.int32]] = []
        cut: list[int] = []
        for start in range(0, len(texts), _BLOCK):
            for encoding, was_cut in self._encode(texts[start : start + _BLOCK]):
                if was_cut:
                    cut.append(len(rows))
                rows.append(np.array(encoding.ids, dtype=np.int32))
        return rows, cut

    def _encode(self, texts: Sequence[str]) -> list[tuple[Encoding, bool]]:
        size = self.max_length * _CHARS_PER_TOKEN
        heads = [_head(text, size) for text in texts]
        encoded = [(encoding, self._overflows(encoding)) for encoding in self._rust.encode_batch_fast(heads)]
        for place, (head, text) in enumerate(zip(heads, texts, strict=True)):
            if len(head) < len(text) and not encoded[place][1]:
                encoded[place] = self._encode_sparse(text, size)
        return encoded

    def _encode_sparse(self, text: str, size: int) -> tuple[Encoding, bool]:
        """A long text of few tokens, such as blank pages or one endless word: read twice as far until it fills up."""
        most = self.max_length * _MOST_CHARS_PER_TOKEN
        while True:
            size = min(2 * size, most)
            head = _head(text, size)
            encoding = self._rust.encode_batch_fast([head])[0]
            overflows = self._overflows(encoding)
            if overflows or len(head) == len(text) or size == most:
                return encoding, overflows or len(head) < len(text)

    def _overflows(self, encoding: Encoding) -> bool:
        return len(encoding) == self.max_length and bool(encoding.overflowing)


def _head(text: str, size: int) -> str:
    """The first `size` characters, less a word that may have been cut: what comes before a space never depends on it."""
    if len(text) <= size:
        return text
    head = text[:size]
    whole_words = head.rsplit(maxsplit=1)
    return whole_words[0] if len(whole_words) == 2 else head


def report_overflow(positions: Sequence[int], total: int, max_length: int, policy: OnOverflow) -> None:
    """Does what the policy says about texts that are longer than the model reads.

    Raises:
        TextTooLongError: there are any and the policy is "error".
    """
    if not positions or policy == "truncate":
        return
    shown = ", ".join(map(str, positions[:10])) + (", ..." if len(positions) > 10 else "")
    text = f"{len(positions)} of {total} texts have more than the {max_length} tokens that the model reads, at positions {shown}"
    if policy == "error":
        raise TextTooLongError(f'{text}; split them, or pass on_overflow="truncate"', positions)
    warnings.warn(TruncationWarning(f"{text}; the rest of each was not read", positions), stacklevel=5)
