"""Converts texts to token ids with the model's own tokenizer."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Encoding, normalizers, pre_tokenizers

from embedry._files import tokenizer_file
from embedry._pipeline.texts import blocks
from embedry.errors import IntegrityError, is_failure
from embedry.prepared import Token
from embedry.transformer import AT_TOP, Transformer

_BLOCK_TEXTS, _BLOCK_CHARS = 2048, 2**18
"""Texts tokenized at a time, at most so many, of about so many characters: an `Encoding` weighs a hundred times what its ids do, so
few are held at once; but after each of these calls Python waits for threads that compute, so short texts are read by the thousand."""

_CHARS_PER_TOKEN = 16
"""Only so much of a text is read at first. Running text has 3 to 6 characters a token, so nearly always this is enough."""

_LEAST_CHARS = 1024
"""But never less than this of it: longer than what tokenizers look at as one word (BERT: 100 characters)."""

_MOST_CHARS_PER_TOKEN = 2048
"""What lies behind so many characters for each token the model reads is never tokenized, whatever it is."""

_PROBE = "a 1"
"""A text that every tokenizer finds a token in, to see where the special ones are."""


class Tokenizer:
    """Turns texts into token ids. Never changed once made: it is safe from many threads, and serves all lengths.

    Raises:
        IntegrityError: the file is not a tokenizer, or not one that can be used.
    """

    def __init__(self, file: Path, reading: Transformer = AT_TOP, *, special: bool = True) -> None:
        self._file = file
        self._adds_special = special
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
        whole = [AddedToken(token, normalized=False, special=True) for token in reading.whole_tokens]
        self._rust.add_special_tokens(whole)
        self._ids: dict[tuple[str, ...], list[int]] = {}
        try:
            # The file may carry a padding and a length of its own (all-MiniLM-L6-v2: 128); the embedder's length holds.
            self._rust.no_padding()
            self._rust.no_truncation()
            is_special = self._rust.encode(_PROBE, add_special_tokens=special).special_tokens_mask
        except BaseException as error:
            if not is_failure(error):
                raise
            raise IntegrityError(f"{file} cannot be used: {error}") from error
        self._special = sum(is_special)
        self._before = is_special.index(0) if 0 in is_special else 0
        """Special tokens before a text; the others are behind it."""

    def check_length(self, max_length: int) -> None:
        """Raises IntegrityError if the special tokens alone are more than so many."""
        if self._special > max_length:
            raise IntegrityError(
                f"{self._file} adds {self._special} special tokens, and max_seq_length={max_length} has no room for them"
            )

    def ids_of(self, tokens: tuple[str, ...]) -> list[int]:
        """The ids of those of these tokens that the vocabulary has."""
        if tokens not in self._ids:
            found = map(self._rust.token_to_id, tokens)
            self._ids[tokens] = [number for number in found if number is not None]
        return self._ids[tokens]

    def pair(self) -> Encoding:
        """The tokens of a pair of two short texts, with the model's special tokens, which show where those stand."""
        (encoding,) = tokenizer_file.encode(self._rust, [(_PROBE, _PROBE)])
        return encoding

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text, read whole, special tokens included."""
        parts = blocks(texts, count=_BLOCK_TEXTS, chars=_BLOCK_CHARS)
        return [len(encoding) for part in parts for encoding in self._encodings(part)]

    def tokens(self, texts: Sequence[str]) -> list[list[Token]]:
        """The tokens of each text, read whole, special tokens included."""
        parts = blocks(texts, count=_BLOCK_TEXTS, chars=_BLOCK_CHARS)
        return [
            [
                Token(number, text, start, end, bool(special))
                for number, text, (start, end), special in zip(
                    encoding.ids, encoding.tokens, encoding.offsets, encoding.special_tokens_mask, strict=True
                )
            ]
            for part in parts
            for encoding in tokenizer_file.encode(self._rust, part, special=self._adds_special, places=True)
        ]

    def starts(self, text: str) -> NDArray[np.intp]:
        """Where each token of a text starts, in characters, ascending; special tokens have no place."""
        (encoding,) = tokenizer_file.encode(self._rust, [text], special=False, places=True)
        return np.maximum.accumulate(np.array([start for start, _ in encoding.offsets], dtype=np.intp))

    def read(self, texts: Sequence[str], max_length: int) -> Iterator[tuple[NDArray[np.int32], bool]]:
        """The ids of at most `max_length` tokens of each text, special tokens included, and whether it was truncated.

        Raises:
            IntegrityError: the tokenizer itself fails.
        """
        for part in blocks(texts, count=_BLOCK_TEXTS, chars=_BLOCK_CHARS):
            for ids, was_truncated in self._encode(part, max_length):
                yield _row(ids), was_truncated

    def _encode(self, texts: Sequence[str], length: int) -> list[tuple[list[int], bool]]:
        size = max(_LEAST_CHARS, length * _CHARS_PER_TOKEN)
        if self._left:  # where a word starts depends on what is before it, so such texts are read as they are
            size = length * _MOST_CHARS_PER_TOKEN
            found = self._truncated([text[-size:] for text in texts], length)
            return [(ids, overflows or len(text) > size) for (ids, overflows), text in zip(found, texts, strict=True)]
        heads = [_head(text, size) for text in texts]
        found = self._truncated(heads, length)
        for position, (head, text) in enumerate(zip(heads, texts, strict=True)):
            ids, overflows = found[position]
            if len(head) < len(text) and not (overflows and len(head) < size):
                found[position] = self._encode_further(text, length, size, ids)
        return found

    def _encode_further(self, text: str, length: int, size: int, ids: list[int]) -> tuple[list[int], bool]:
        """A long text that a first look does not settle: one of few tokens, such as blank pages or one endless word, or
        one whose last word was cut. Read twice as far until it fills up, with whole words or with the same ids as before.
        """
        most = length * _MOST_CHARS_PER_TOKEN
        while True:
            size = min(2 * size, most)
            head = _head(text, size)
            before = ids
            ids, overflows = self._truncated([head], length)[0]
            settled = overflows and (len(head) < size or ids == before)
            if settled or len(head) == len(text) or size == most:
                return ids, overflows or len(head) < len(text)

    def _truncated(self, texts: Sequence[str], length: int) -> list[tuple[list[int], bool]]:
        """Ids of at most so many tokens, as the tokenizers library truncates, and whether there are more.

        That library would keep the length in the tokenizer, which one thread at a time could use then.
        """
        start = self._before if self._left else length - (self._special - self._before)
        found: list[tuple[list[int], bool]] = []
        for encoding in self._encodings(texts):
            ids = encoding.ids
            overflows = len(ids) > length
            found.append((ids[:start] + ids[len(ids) - (length - start) :] if overflows else ids, overflows))
        return found

    def _encodings(self, texts: Sequence[str]) -> "list[Encoding]":
        return tokenizer_file.encode(self._rust, texts, special=self._adds_special)


def _row(ids: list[int]) -> NDArray[np.int32]:
    try:
        return np.array(ids, dtype=np.int32)
    except OverflowError as error:
        raise IntegrityError(
            f"the model's tokenizer returns the token id {max(ids)}, which exceeds the size of any table"
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
