"""From texts to batches that an engine can compute: the first half of the pipeline."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedry._pipeline import batching
from embedry._pipeline.texts import Part
from embedry._pipeline.tokenizer import Tokenizer
from embedry.backend import Encoder, TextEncoder
from embedry.errors import IntegrityError, OptionError, UnsupportedModelError
from embedry.options import Config
from embedry.prepared import Token

_BLOCK_BATCHES = 64
_CHARS_PER_TOKEN = 4
_BLOCK_CHARS = 2**17
"""Texts are read in blocks of about so many batches, by the characters of running text, or at least of so many characters:
enough to sort them by length, few enough to hold two blocks at a time."""

TEXT_BATCH = 256
"""Texts handed at a time to an engine that reads texts itself."""


@dataclass(frozen=True)
class ReadBlock:
    """Texts that were read: how the engine takes each of them, and which of them go together, by their positions."""

    rows: Sequence[Any]
    batches: Sequence[NDArray[np.intp]]
    truncated: list[int]
    """The positions of texts that are longer than the model reads."""
    tokens: list[int] | None
    """That the engine is given of each text; None if only the engine knows."""


class TokenReader:
    """Reads texts into token ids, for engines that take those."""

    def __init__(self, tokenizer: Tokenizer, encoder: Encoder, *, pad_id: int, longest: int | None) -> None:
        self._tokenizer = tokenizer
        self._encoder = encoder
        self._pad_id = pad_id
        self._longest = longest
        self.workers, self.batch_tokens = encoder.workers, encoder.batch_tokens
        self.block_chars = max(_BLOCK_CHARS, _BLOCK_BATCHES * encoder.batch_tokens * _CHARS_PER_TOKEN)

    def check(self, config: Config) -> None:
        """Raises IntegrityError if the model has no positions, or its special tokens no room, for the configured length."""
        length, name = config.max_seq_length, config.spec.name
        if self._longest is not None and length > self._longest:
            raise IntegrityError(
                f"config.json of {name!r} has positions for {self._longest} tokens, and max_seq_length={length} asks for "
                f"more; pass max_seq_length={self._longest} to resolve"
            )
        self._tokenizer.check_length(length)

    def read(
        self, texts: Sequence[str], prompt: str, length: int, *, step: Callable[[], object], count: bool
    ) -> ReadBlock:
        """Batches of similar length within the token budget, longest first. Calls `step` before each text."""
        rows: list[NDArray[np.int32]] = []
        truncated: list[int] = []
        whole = [prompt + text for text in texts] if prompt else texts
        for row, was_truncated in self._tokenizer.read(whole, length):
            step()
            if was_truncated:
                truncated.append(len(rows))
            rows.append(row)
        lengths = [len(row) for row in rows]
        return ReadBlock(rows, batching.batches(lengths, self.batch_tokens, self.workers), truncated, lengths)

    def lengths(self, texts: Sequence[str], prompt: str) -> list[int]:
        """Tokens of whole texts, special tokens included."""
        return self._tokenizer.lengths([prompt + text for text in texts])

    def tokenize(self, texts: Sequence[str], prompt: str) -> list[list[Token]]:
        """The tokens of whole texts, special ones included."""
        return self._tokenizer.tokens([prompt + text for text in texts])

    def forward(self, rows: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        """What the engine gives for a batch."""
        return self._encoder.forward(*batching.padded(rows, self._pad_id))

    def forward_wide(self, rows: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        """The same with all of its threads."""
        return self._encoder.forward_wide(*batching.padded(rows, self._pad_id))


class TextReader:
    """Hands texts as they are to engines that read them in their own way."""

    workers = 1
    batch_tokens = 0
    block_chars = _BLOCK_CHARS

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder

    def check(self, config: Config) -> None:
        """Raises OptionError for a length of the caller's: nothing here could truncate a text at a token. Asks the engine too."""
        if config.max_seq_length != config.spec.max_seq_length:
            raise OptionError(
                f"max_seq_length={config.max_seq_length} is not possible: {config.spec.name!r} reads texts in its own way"
            )
        self._encoder.check(config.spec, config.chain)

    def read(
        self, texts: Sequence[str], prompt: str, length: int, *, step: Callable[[], object], count: bool
    ) -> ReadBlock:
        """Batches in the given order; which are truncated is asked for only with `count`, because it takes its time."""
        step()
        lengths = self.lengths(texts, prompt) if count else []
        truncated = [position for position, tokens in enumerate(lengths) if tokens > length]
        starts = range(TEXT_BATCH, len(texts), TEXT_BATCH)
        return ReadBlock([(text, prompt) for text in texts], np.split(np.arange(len(texts)), starts), truncated, None)

    def lengths(self, texts: Sequence[str], prompt: str) -> list[int]:
        """Tokens of whole texts, as the engine counts them."""
        return list(self._encoder.lengths([prompt + text for text in texts]))

    def tokenize(self, texts: Sequence[str], prompt: str) -> list[list[Token]]:
        """Raises UnsupportedModelError: only the engine knows."""
        raise UnsupportedModelError("this model's engine reads texts in its own way, and does not show their tokens")

    def forward(self, rows: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """What the engine gives for a batch, whose texts have one prompt."""
        return self._encoder.forward_texts([text for text, _ in rows], rows[0][1])

    forward_wide = forward


Reader: TypeAlias = TokenReader | TextReader

Read: TypeAlias = tuple[Part, ReadBlock]
"""What was read of a part of the texts, and which part it is."""


def tokens_of(read: Sequence[Read]) -> list[int] | None:
    """The tokens of each of the caller's texts, of a whole call or of one block of a stream; None if only the engine knows."""
    counts = [count for _, block in read for count in block.tokens or ()]
    if len(counts) < sum(len(block.rows) for _, block in read):
        return None
    return [counts[place] for place in read[0][0].inverse] if read else []


def truncated_of(read: Sequence[Read]) -> list[int]:
    """The positions of the caller's texts that are longer than the model reads."""
    return sorted({position for part, block in read for position in part.positions(block.truncated)})
