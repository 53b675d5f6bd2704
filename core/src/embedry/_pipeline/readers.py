"""From texts to batches that an engine can compute: the first half of the pipeline."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedry._pipeline import batching
from embedry._pipeline.microbatches import MicroBatches
from embedry._pipeline.tokenizer import Tokenizer
from embedry.backend import Encoder, TextEncoder
from embedry.errors import OptionError
from embedry.options import Config

TEXT_BATCH = 256
"""Texts handed at a time to an engine that reads texts itself."""


@dataclass(frozen=True)
class Batch:
    """Some texts of a block, by their positions in it, and how to get their pooled vectors."""

    positions: NDArray[np.intp]
    compute: Callable[[], NDArray[np.float32]]


@dataclass(frozen=True)
class TokenizedBlock:
    """Texts that were read: how many, their batches, and the positions of those that are longer than the model reads."""

    size: int
    batches: list[Batch]
    truncated: list[int]


def started_workers(encoder: Encoder | TextEncoder) -> ThreadPoolExecutor:
    """Threads for the engine to compute on, as many as it wants. None is started before it is needed."""
    count = 1 if isinstance(encoder, TextEncoder) else encoder.workers
    start = getattr(encoder, "start_worker", None)
    return ThreadPoolExecutor(count, thread_name_prefix="embedry", initializer=start)


class TokenBatcher:
    """Reads texts into batches of token ids, for engines that take those."""

    def __init__(self, config: Config, folder: Path, encoder: Encoder, pad_id: int) -> None:
        assert config.spec.transformer is not None  # noqa: S101  checked where the encoder is taken
        self._encoder = encoder
        reading = config.spec.transformer
        self._tokenizer = Tokenizer(folder / reading.file("tokenizer.json"), config.max_seq_length, reading)
        self._pad_id = pad_id
        # Workers of their own: a query does not stand in line behind a thousand documents.
        workers = started_workers(encoder)
        self._together = MicroBatches(self._forward, workers, slots=encoder.workers, tokens=encoder.batch_tokens)

    def read(self, texts: Sequence[str], prompt: str) -> TokenizedBlock:
        """Batches of like length within the engine's token budget, longest first."""
        rows, truncated = self._tokenizer.ids([prompt + text for text in texts] if prompt else texts)
        # Without special tokens an empty text has no token: nothing is computed for it, and its vector is zero.
        full = [position for position, row in enumerate(rows) if len(row)] if not all(map(len, rows)) else None
        lengths = [len(row) for row in rows if len(row)]
        groups = batching.batches(lengths, self._encoder.batch_tokens, self._encoder.workers)
        if full is not None:
            groups = [np.asarray(full, dtype=np.intp)[group] for group in groups]
        # A single batch is likely a query, and others may come at the same time.
        compute = self._together.vectors if len(groups) == 1 else self._forward
        return TokenizedBlock(
            len(rows), [Batch(group, partial(compute, [rows[at] for at in group])) for group in groups], truncated
        )

    def _forward(self, rows: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        return self._encoder.forward(*batching.padded(rows, self._pad_id))


class TextBatcher:
    """Hands texts as they are to engines that read them in their own way."""

    def __init__(self, config: Config, encoder: TextEncoder) -> None:
        if config.max_seq_length != config.spec.max_seq_length:  # nothing here could truncate a text at a token
            raise OptionError(
                f"max_seq_length={config.max_seq_length} is not possible: {config.spec.name!r} reads texts in its own way"
            )
        self._config = config
        self._encoder = encoder

    def read(self, texts: Sequence[str], prompt: str) -> TokenizedBlock:
        """Batches in the given order; lengths are asked for only where the overflow policy needs them."""
        truncated: list[int] = []
        if self._config.on_overflow != "truncate":
            lengths = self._encoder.lengths([prompt + text for text in texts])
            truncated = [position for position, length in enumerate(lengths) if length > self._config.max_seq_length]
        starts = range(0, len(texts), TEXT_BATCH)
        positions = [np.arange(start, min(start + TEXT_BATCH, len(texts))) for start in starts]
        return TokenizedBlock(
            len(texts),
            [Batch(part, self._batch(texts[part[0] : part[-1] + 1], prompt)) for part in positions],
            truncated,
        )

    def _batch(self, texts: Sequence[str], prompt: str) -> Callable[[], NDArray[np.float32]]:
        return lambda: self._encoder.forward_texts(texts, prompt)
