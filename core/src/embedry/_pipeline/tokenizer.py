"""Text to token ids, with the model's own tokenizer."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, normalizers, pre_tokenizers

from embedry._files import tokenizer_file
from embedry.errors import IntegrityError, is_failure
from embedry.spec import AT_TOP, Transformer

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

    def __init__(self, file: Path, max_length: int, reading: Transformer = AT_TOP) -> None:
        self._rust = tokenizer_file.open_tokenizer(file)
        self._left = reading.truncate_left
        if reading.normalizer is not None:
            self._rust.normalizer = normalizers.BertNormalizer(
                clean_text=True,
                handle_chinese_chars=reading.normalizer.chinese_chars,
                strip_accents=reading.normalizer.strip_accents,
                lowercase=reading.normalizer.lower_case,
            )
        if reading.lower_case and not _lowercases(self._rust.normalizer):
            own = self._rust.normalizer
            self._rust.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([own] if own is not None else [])])
        if reading.split_at_spaces:
            own = self._rust.pre_tokenizer
            steps = [pre_tokenizers.WhitespaceSplit(), *([own] if own is not None else [])]
            self._rust.pre_tokenizer = pre_tokenizers.Sequence(steps)
        try:
            # The file may carry a padding and a length of its own (all-MiniLM-L6-v2: 128); the entry's length holds.
            self._rust.no_padding()
            self._rust.enable_truncation(max_length, direction="left" if self._left else "right")
        except BaseException as error:  # a length that leaves no room beside the special tokens
            if not is_failure(error):
                raise
            raise IntegrityError(f"{file} cannot be used with a length of {max_length} tokens: {error}") from error
        own = len(tokenizer_file.encode(self._rust, [""])[0])
        if own > max_length:
            raise IntegrityError(
                f"{file} adds {own} special tokens, and max_seq_length={max_length} has no room for them"
            )
        self.max_length = max_length

    def ids(self, texts: Sequence[str]) -> tuple[list[NDArray[np.int32]], list[int]]:
        """Token ids of each text, special tokens included, and the positions of the texts that were truncated.

        Raises:
            IntegrityError: the tokenizer itself fails.
        """
        rows: list[NDArray[np.int32]] = []
        truncated: list[int] = []
        for start in range(0, len(texts), _BLOCK):
            for encoding, was_truncated in self._encode(texts[start : start + _BLOCK]):
                if was_truncated:
                    truncated.append(len(rows))
                rows.append(_row(encoding))
        return rows, truncated

    def _encode(self, texts: Sequence[str]) -> list[tuple[Encoding, bool]]:
        size = max(_LEAST_CHARS, self.max_length * _CHARS_PER_TOKEN)
        if self._left:  # where a word starts depends on what is before it, so such texts are read as they are
            size = self.max_length * _MOST_CHARS_PER_TOKEN
            return [
                (encoding, self._overflows(encoding) or len(text) > size)
                for encoding, text in zip(
                    tokenizer_file.encode(self._rust, [text[-size:] for text in texts]), texts, strict=True
                )
            ]
        heads = [_head(text, size) for text in texts]
        encoded = [(encoding, self._overflows(encoding)) for encoding in tokenizer_file.encode(self._rust, heads)]
        for position, (head, text) in enumerate(zip(heads, texts, strict=True)):
            encoding, overflows = encoded[position]
            if len(head) < len(text) and not (overflows and len(head) < size):
                encoded[position] = self._encode_further(text, size, encoding.ids)
        return encoded

    def _encode_further(self, text: str, size: int, ids: list[int]) -> tuple[Encoding, bool]:
        """A long text that a first look does not settle: one of few tokens, such as blank pages or one endless word, or
        one whose last word was cut. Read twice as far until it fills up, with whole words or with the same ids as before.
        """
        most = self.max_length * _MOST_CHARS_PER_TOKEN
        while True:
            size = min(2 * size, most)
            head = _head(text, size)
            encoding = tokenizer_file.encode(self._rust, [head])[0]
            overflows = self._overflows(encoding)
            settled = overflows and (len(head) < size or encoding.ids == ids)
            if settled or len(head) == len(text) or size == most:
                return encoding, overflows or len(head) < len(text)
            ids = encoding.ids

    def _overflows(self, encoding: Encoding) -> bool:
        return len(encoding) == self.max_length and bool(encoding.overflowing)


def _row(encoding: Encoding) -> NDArray[np.int32]:
    try:
        return np.array(encoding.ids, dtype=np.int32)
    except OverflowError as error:
        raise IntegrityError(
            f"the model's tokenizer gives the token id {max(encoding.ids)}, and no table has so many rows"
        ) from error


def _lowercases(normalizer: normalizers.Normalizer | None) -> bool:
    # Its stub does not say that a sequence can be iterated.
    parts = list(cast("Iterable[object]", normalizer)) if isinstance(normalizer, normalizers.Sequence) else [normalizer]
    return any(isinstance(part, normalizers.Lowercase) for part in parts)


def _head(text: str, size: int) -> str:
    """The first `size` characters, less a word that may have been cut: what comes before a space never depends on it."""
    if len(text) <= size:
        return text
    head = text[:size]
    # Only what every tokenizer takes for a space; some just drop the control characters that `str.split` splits at.
    end = max(head.rfind(space) for space in " \t\n\r")
    return head if end < 0 else head[:end].rstrip()
