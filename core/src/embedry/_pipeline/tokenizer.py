"""Text to token ids, with the model's own tokenizer."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding
from tokenizers import Tokenizer as RustTokenizer

from embedry.errors import IntegrityError

_BLOCK = 1024
"""Texts tokenised at a time: an `Encoding` weighs a hundred times what its ids do, so few are held at once."""

_CHARS_PER_TOKEN = 16
"""Only so much of a text is read at first. Running text has 3 to 6 characters a token, so nearly always this is enough."""

_LEAST_CHARS = 1024
"""But never less than this of it: longer than what tokenizers look at as one word (BERT: 100 characters)."""

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
        size = max(_LEAST_CHARS, self.max_length * _CHARS_PER_TOKEN)
        heads = [_head(text, size) for text in texts]
        encoded = [(encoding, self._overflows(encoding)) for encoding in self._rust.encode_batch_fast(heads)]
        for place, (head, text) in enumerate(zip(heads, texts, strict=True)):
            encoding, overflows = encoded[place]
            if len(head) < len(text) and not (overflows and len(head) < size):
                encoded[place] = self._encode_further(text, size, encoding.ids)
        return encoded

    def _encode_further(self, text: str, size: int, ids: list[int]) -> tuple[Encoding, bool]:
        """A long text that a first look does not settle: one of few tokens, such as blank pages or one endless word, or
        one whose last word was cut. Read twice as far until it fills up, with whole words or with the same ids as before.
        """
        most = self.max_length * _MOST_CHARS_PER_TOKEN
        while True:
            size = min(2 * size, most)
            head = _head(text, size)
            encoding = self._rust.encode_batch_fast([head])[0]
            overflows = self._overflows(encoding)
            settled = overflows and (len(head) < size or encoding.ids == ids)
            if settled or len(head) == len(text) or size == most:
                return encoding, overflows or len(head) < len(text)
            ids = encoding.ids

    def _overflows(self, encoding: Encoding) -> bool:
        return len(encoding) == self.max_length and bool(encoding.overflowing)


def _head(text: str, size: int) -> str:
    """The first `size` characters, less a word that may have been cut: what comes before a space never depends on it."""
    if len(text) <= size:
        return text
    head = text[:size]
    # Only what every tokenizer takes for a space; some just drop the control characters that `str.split` splits at.
    end = max(head.rfind(space) for space in " \t\n\r")
    return head if end < 0 else head[:end].rstrip()
