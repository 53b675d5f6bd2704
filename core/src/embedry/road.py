"""The road from text to vectors, walked once for every engine. Heavy modules are imported here, on first use.

texts -> prompt -> token ids, overflow policy -> batches by token budget, longest first
      -> [ backend: ids + mask -> pooled vectors ]
      -> finite and shape check -> shorten -> normalise -> the caller's order
"""

import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedry import vectors
from embedry.backends import Encoder
from embedry.config import Config
from embedry.tokens import Tokenizer, report_overflow


class Road:
    """A tokenizer, a loaded engine, and the way between them."""

    def __init__(self, config: Config, folder: Path, encoder: Encoder) -> None:
        self._config = config
        self.encoder = encoder
        self._tokenizer = Tokenizer(folder / "tokenizer.json", config.max_seq_length)
        self._pad_id = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("pad_token_id") or 0
        self._workers = ThreadPoolExecutor(encoder.workers, thread_name_prefix="embedry")

    def encode(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        """Vectors of checked texts, float32 (len(texts), dims), in their order. Equal texts are computed once.

        Raises:
            TextTooLongError: before anything is computed, under on_overflow="error".
            BackendError: the engine broke its contract.
        """
        places: dict[str, int] = {}
        inverse = [places.setdefault(text, len(places)) for text in texts]
        rows, cut = self._tokenizer.ids([prompt + text for text in places] if prompt else list(places))
        if cut:
            were_cut = set(cut)
            positions = [position for position, place in enumerate(inverse) if place in were_cut]
            report_overflow(positions, len(texts), self._config.max_seq_length, self._config.on_overflow)
        unique = self._compute(rows)
        return unique if len(places) == len(texts) else unique[inverse]

    def _compute(self, rows: list[NDArray[np.int32]]) -> NDArray[np.float32]:
        result = np.empty((len(rows), self._config.dims), dtype=np.float32)

        def run(batch: NDArray[np.intp]) -> None:
            result[batch] = self._forward([rows[place] for place in batch])

        batches = vectors.batches([len(row) for row in rows], self.encoder.batch_tokens)
        if len(batches) == 1:  # a single question goes straight through, in the thread that asks it
            run(batches[0])
            return result
        futures: list[Future[None]] = []
        try:
            futures.extend(self._workers.submit(run, batch) for batch in batches)
            for future in futures:
                future.result()
        finally:  # after an error or Ctrl-C nothing of this call goes on behind the caller's back
            for future in futures:
                future.cancel()
        return result

    def _forward(self, rows: list[NDArray[np.int32]]) -> NDArray[np.float32]:
        config = self._config
        pooled = self.encoder.forward(*vectors.padded(rows, self._pad_id))
        return vectors.finish(
            pooled, rows=len(rows), full_dims=config.spec.dims, dims=config.dims, normalize=config.normalize
        )
