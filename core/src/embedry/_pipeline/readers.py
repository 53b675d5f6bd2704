"""The first half of the pipeline: converts texts to batches for an engine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embedry._pipeline import batching
from embedry._pipeline.pairs import PairTokenizer
from embedry._pipeline.texts import Part
from embedry._pipeline.tokenizer import Tokenizer
from embedry.backend import Encoder, PairEncoder, TextEncoder
from embedry.errors import IntegrityError, OptionError, UnsupportedModelError
from embedry.heads import LateInteraction
from embedry.options import Config
from embedry.prepared import Token

_BLOCK_BATCHES = 64
_PACKED_BLOCK_BATCHES = 2
_CHARS_PER_TOKEN = 4
_BLOCK_CHARS = 2**17
"""Texts are read in blocks of about so many batches, by the characters of running text, or at least of so many characters:
enough to sort them by length, few enough to hold two blocks at a time. An engine that packs gains nothing from sorting, and waits
for the first block."""

TEXT_BATCH = 256
"""Texts handed at a time to an engine that reads texts itself."""


@dataclass(frozen=True)
class ReadBlock:
    """Texts that were read: how the engine takes each of them, and which of them go together, by their positions."""

    rows: Sequence[Any]
    batches: Sequence[NDArray[np.intp]]
    truncated: list[int]
    """The positions of texts that are longer than the model reads; of pairs, where the document is truncated."""
    tokens: list[int] | None
    """That the engine is given of each text; None if only the engine knows."""
    truncated_queries: Sequence[int] = ()
    """The positions of pairs whose query is truncated."""


class TokenReader:
    """Reads texts into token ids, for engines that take those."""

    def __init__(
        self, tokenizer: Tokenizer, encoder: Encoder | PairEncoder, *, pad_id: int, longest: int | None
    ) -> None:
        self._tokenizer = tokenizer
        self._encoder: Any = encoder  # which of the two takes as many arrays as `_padded` gives
        self._pad_id = pad_id
        self._longest = longest
        self.workers, self.batch_tokens, self.packs = encoder.workers, encoder.batch_tokens, encoder.packs
        batches = _PACKED_BLOCK_BATCHES if encoder.packs else _BLOCK_BATCHES
        self.block_chars = max(_BLOCK_CHARS, batches * encoder.batch_tokens * _CHARS_PER_TOKEN)
        self.ids_of = tokenizer.ids_of

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
        self, texts: Sequence[Any], role: str, config: Config, *, step: Callable[[], object], count: bool
    ) -> ReadBlock:
        """Batches of similar length within the token budget, longest first. Calls `step` before each text."""
        rows: list[NDArray[np.int32]] = []
        truncated: list[int] = []
        expand = self._expansion(role, config)
        for row, was_truncated in self._tokenizer.read(_prompted(texts, role, config), config.length(role)):
            step()
            if was_truncated:
                truncated.append(len(rows))
            rows.append(row if expand is None else expand(row))
        return self._block(rows, truncated)

    def _block(
        self, rows: list[NDArray[np.int32]], truncated: list[int], truncated_queries: Sequence[int] = ()
    ) -> ReadBlock:
        lengths = [len(row) for row in rows]
        batches = batching.batches(lengths, self.batch_tokens, self.workers, packs=self.packs)
        return ReadBlock(rows, batches, truncated, lengths, truncated_queries)

    def _expansion(self, role: str, config: Config) -> Callable[[NDArray[np.int32]], NDArray[np.int32]] | None:
        """What fills up a query, for models that do."""
        end = config.chain[-1]
        if not isinstance(end, LateInteraction) or role != "query" or not end.expand_to:
            return None
        filling = self.ids_of((end.expand_with,))
        if not filling:
            raise IntegrityError(
                f"the tokenizer of {config.spec.name!r} has no token {end.expand_with!r}, which pads its queries"
            )
        return partial(_filled_up, filling[0], end)

    def lengths(self, texts: Sequence[Any], role: str, config: Config) -> list[int]:
        """Tokens of whole texts, special tokens included."""
        return self._tokenizer.lengths(_prompted(texts, role, config))

    def tokenize(self, texts: Sequence[str], role: str, config: Config) -> list[list[Token]]:
        """The tokens of whole texts, special ones included."""
        return self._tokenizer.tokens(_prompted(texts, role, config))

    def starts(self, text: str) -> NDArray[np.intp]:
        """Where each token of a text starts, in characters, without a prompt and special tokens."""
        return self._tokenizer.starts(text)

    def forward(self, rows: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        """What the engine gives for a batch."""
        result: NDArray[np.float32] = self._encoder.forward(*self._padded(rows))
        return result

    def forward_wide(self, rows: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        """The same with all of its threads."""
        result: NDArray[np.float32] = self._encoder.forward_wide(*self._padded(rows))
        return result

    def _padded(self, rows: Sequence[NDArray[np.int32]]) -> tuple[NDArray[np.int32], ...]:
        """Ids and mask; a row of two columns has ids, and whether other tokens attend to each."""
        if all(row.ndim == 1 for row in rows):
            return batching.padded(rows, self._pad_id)
        whole = [row if row.ndim == 2 else np.stack([row, np.ones_like(row)], axis=1) for row in rows]
        ids, _, attended = batching.padded(whole, self._pad_id)
        return ids, attended


class PairReader(TokenReader):
    """Reads pairs of a query and a document into token and segment ids."""

    def __init__(
        self, tokenizer: PairTokenizer, encoder: Encoder | PairEncoder, *, pad_id: int, longest: int | None
    ) -> None:
        super().__init__(tokenizer.texts, encoder, pad_id=pad_id, longest=longest)
        self._pairs = tokenizer

    def check(self, config: Config) -> None:
        """As a `TokenReader`."""
        super().check(config)
        self._pairs.check_length(config.max_seq_length)

    def read(
        self, texts: Sequence[Any], role: str, config: Config, *, step: Callable[[], object], count: bool
    ) -> ReadBlock:
        """As a `TokenReader`, of pairs."""
        step()
        found = self._pairs.read(texts, config.pair_prompts(role), config.max_seq_length)
        queries = [position for position, pair in enumerate(found) if pair.query_truncated]
        documents = [position for position, pair in enumerate(found) if pair.document_truncated]
        return self._block([pair.row for pair in found], documents, queries)

    def lengths(self, texts: Sequence[Any], role: str, config: Config) -> list[int]:
        """Tokens of whole pairs, special tokens included."""
        return self._pairs.lengths(texts, config.pair_prompts(role))

    def _padded(self, rows: Sequence[NDArray[np.int32]]) -> tuple[NDArray[np.int32], ...]:
        return batching.padded(rows, self._pad_id)


class TextReader:
    """Hands texts as they are to engines that read them in their own way."""

    workers = 1
    batch_tokens = 0
    packs = False
    block_chars = _BLOCK_CHARS

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder

    def check(self, config: Config) -> None:
        """Raises OptionError for a length of the caller's: nothing here could truncate a text at a token. Asks the engine too."""
        if config.max_seq_length != config.spec.max_seq_length:
            raise OptionError(
                f"max_seq_length={config.max_seq_length} is not supported: {config.spec.name!r} tokenizes texts itself"
            )
        self._encoder.check(config.spec, config.chain)

    def read(
        self, texts: Sequence[Any], role: str, config: Config, *, step: Callable[[], object], count: bool
    ) -> ReadBlock:
        """Batches in the given order; which are truncated is asked for only with `count`, because it takes its time."""
        step()
        prompt = config.spec.prompt(role)
        lengths = self.lengths(texts, role, config) if count else []
        truncated = [position for position, tokens in enumerate(lengths) if tokens > config.max_seq_length]
        starts = range(TEXT_BATCH, len(texts), TEXT_BATCH)
        return ReadBlock([(text, prompt) for text in texts], np.split(np.arange(len(texts)), starts), truncated, None)

    def lengths(self, texts: Sequence[Any], role: str, config: Config) -> list[int]:
        """Tokens of whole texts, as the engine counts them."""
        return list(self._encoder.lengths(_prompted(texts, role, config)))

    def ids_of(self, tokens: tuple[str, ...]) -> list[int]:
        """None: only the engine knows."""
        return []

    def tokenize(self, texts: Sequence[str], role: str, config: Config) -> list[list[Token]]:
        """Raises UnsupportedModelError: only the engine knows."""
        raise _no_tokens()

    def starts(self, text: str) -> NDArray[np.intp]:
        """Raises UnsupportedModelError: only the engine knows."""
        raise _no_tokens()

    def forward(self, rows: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """What the engine gives for a batch, whose texts have one prompt."""
        return self._encoder.forward_texts([text for text, _ in rows], rows[0][1])

    forward_wide = forward


def _no_tokens() -> UnsupportedModelError:
    return UnsupportedModelError("this model's engine tokenizes texts itself and does not return tokens")


Reader: TypeAlias = TokenReader | TextReader

Read: TypeAlias = tuple[Part, ReadBlock]
"""What was read of a part of the texts, and which part it is."""


def _prompted(texts: Sequence[str], role: str, config: Config) -> Sequence[str]:
    prompt = config.spec.prompt(role)
    return [prompt + text for text in texts] if prompt else texts


def _filled_up(token: int, end: LateInteraction, row: NDArray[np.int32]) -> NDArray[np.int32]:
    """A query's token ids filled up; with a second column that is 0 where nothing attends, if that is any token."""
    filled = np.full(max(len(row), end.expand_to), token, dtype=np.int32)
    filled[: len(row)] = row
    return filled if end.attend else np.stack([filled, np.arange(len(filled), dtype=np.int32) < len(row)], axis=1)


def tokens_of(read: Sequence[Read]) -> list[int] | None:
    """The tokens of each of the caller's texts, of a whole call or of one block of a stream; None if only the engine knows."""
    counts = [count for _, block in read for count in block.tokens or ()]
    if len(counts) < sum(len(block.rows) for _, block in read):
        return None
    return [counts[place] for place in read[0][0].inverse] if read else []


def truncated_of(read: Sequence[Read]) -> list[int]:
    """The positions of the caller's texts that are longer than the model reads; of pairs, where the document is truncated."""
    return sorted({position for part, block in read for position in part.positions(block.truncated)})


def truncated_queries_of(read: Sequence[Read]) -> list[int]:
    """The positions of the caller's pairs whose query is truncated."""
    return sorted({position for part, block in read for position in part.positions(block.truncated_queries)})
