"""The road from text to vectors, walked once for every engine. Heavy modules are imported here, on first use.

texts -> prompt -> token ids, overflow policy -> batches by token budget, longest first
      -> [ backend: ids + mask -> pooled vectors ]
      -> finite and shape check -> shorten -> normalise -> the caller's order
"""

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedry import vectors
from embedry.backends import Encoder, TextEncoder
from embedry.config import Config
from embedry.errors import OptionError
from embedry.tokens import Tokenizer, report_overflow

BLOCK = 8192
"""Texts read at a time: while the engine computes one block, the next is tokenised."""

_TEXT_BATCH = 256
"""Texts handed at a time to an engine that reads texts itself."""


@dataclass(frozen=True)
class Batch:
    """Some texts of a block, by their places in it, and how to get their pooled vectors."""

    places: NDArray[np.intp]
    compute: Callable[[], NDArray[np.float32]]


@dataclass(frozen=True)
class Block:
    """Texts that were read: their batches, and the places of those that are longer than the model reads."""

    batches: list[Batch]
    cut: list[int]


class Road:
    """A loaded engine, and the way to it and back."""

    def __init__(self, config: Config, folder: Path, encoder: Encoder | TextEncoder) -> None:
        self._config = config
        self.encoder = encoder
        workers = 1
        if isinstance(encoder, TextEncoder):
            self._read: Callable[[Sequence[str], str], Block] = TextReader(config, encoder).read
        else:
            self._read = TokenReader(config, folder, encoder).read
            workers = encoder.workers
        start = getattr(encoder, "start_worker", None)
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="embedry", initializer=start)

    def encode(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        """Vectors of checked texts, float32 (len(texts), dims), in their order. Equal texts are computed once.

        Raises:
            TextTooLongError: before anything is computed, under on_overflow="error".
            BackendError: the engine broke its contract.
        """
        places: dict[str, int] = {}
        inverse = [places.setdefault(text, len(places)) for text in texts]
        unique = list(places)
        blocks: Iterable[Block] = (self._read(unique[at : at + BLOCK], prompt) for at in range(0, len(unique), BLOCK))
        if self._config.on_overflow != "truncate":  # all is read before anything is computed
            blocks = list(blocks)
            self._report(blocks, inverse)
        result = np.empty((len(unique), self._config.dims), dtype=np.float32)
        self._compute(blocks, result)
        return result if len(unique) == len(texts) else result[inverse]

    def _compute(self, blocks: Iterable[Block], result: NDArray[np.float32]) -> None:
        futures: list[Future[None]] = []
        try:
            for number, block in enumerate(blocks):
                rows = result[number * BLOCK : (number + 1) * BLOCK]
                if len(block.batches) == 1 and len(result) <= BLOCK:
                    self._finish(block.batches[0], rows)  # a single question goes straight through, in its own thread
                    continue
                for batch in block.batches:
                    futures.append(self._workers.submit(self._finish, batch, rows))  # noqa: PERF401  an interrupt loses none
            for future in futures:
                future.result()
        finally:  # after an error or Ctrl-C nothing of this call goes on behind the caller's back
            for future in futures:
                future.cancel()

    def _finish(self, batch: Batch, rows: NDArray[np.float32]) -> None:
        config = self._config
        rows[batch.places] = vectors.finish(
            batch.compute(),
            rows=len(batch.places),
            full_dims=config.spec.dims,
            dims=config.dims,
            normalize=config.normalize,
        )

    def _report(self, blocks: Sequence[Block], inverse: Sequence[int]) -> None:
        cut = {number * BLOCK + place for number, block in enumerate(blocks) for place in block.cut}
        positions = [position for position, place in enumerate(inverse) if place in cut]
        report_overflow(positions, len(inverse), self._config.max_seq_length, self._config.on_overflow)


class TokenReader:
    """Reads texts into batches of token ids, for engines that take those."""

    def __init__(self, config: Config, folder: Path, encoder: Encoder) -> None:
        self._encoder = encoder
        self._tokenizer = Tokenizer(folder / "tokenizer.json", config.max_seq_length)
        self._pad_id = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("pad_token_id") or 0

    def read(self, texts: Sequence[str], prompt: str) -> Block:
        """Batches of like length within the engine's token budget, longest first."""
        rows, cut = self._tokenizer.ids([prompt + text for text in texts] if prompt else texts)
        groups = vectors.batches([len(row) for row in rows], self._encoder.batch_tokens)
        return Block([Batch(group, self._batch([rows[place] for place in group])) for group in groups], cut)

    def _batch(self, rows: Sequence[NDArray[np.int32]]) -> Callable[[], NDArray[np.float32]]:
        return lambda: self._encoder.forward(*vectors.padded(rows, self._pad_id))


class TextReader:
    """Hands texts as they are to engines that read them in their own way."""

    def __init__(self, config: Config, encoder: TextEncoder) -> None:
        if config.max_seq_length != config.spec.max_seq_length:  # nothing here could cut a text at a token
            raise OptionError(
                f"max_seq_length={config.max_seq_length} is not possible: {config.spec.name!r} reads texts in its own way"
            )
        self._config = config
        self._encoder = encoder

    def read(self, texts: Sequence[str], prompt: str) -> Block:
        """Batches in the given order; lengths are asked for only where the overflow policy needs them."""
        cut: list[int] = []
        if self._config.on_overflow != "truncate":
            lengths = self._encoder.lengths([prompt + text for text in texts])
            cut = [place for place, length in enumerate(lengths) if length > self._config.max_seq_length]
        starts = range(0, len(texts), _TEXT_BATCH)
        places = [np.arange(start, min(start + _TEXT_BATCH, len(texts))) for start in starts]
        return Block([Batch(part, self._batch(texts[part[0] : part[-1] + 1], prompt)) for part in places], cut)

    def _batch(self, texts: Sequence[str], prompt: str) -> Callable[[], NDArray[np.float32]]:
        return lambda: self._encoder.forward_texts(texts, prompt)
