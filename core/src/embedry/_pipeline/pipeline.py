"""The pipeline from texts to vectors, the same for every engine. Heavy modules are imported here, on first use.

texts -> prompt -> token ids, overflow policy -> batches by token budget, longest first
      -> [ backend: ids + mask -> what the body of the chain gives ]
      -> finite and shape check -> the tail of the chain -> the caller's order
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from embedry import modules
from embedry._pipeline import finishing
from embedry._pipeline.heap import HeapTrimmer
from embedry._pipeline.overflow import report_overflow
from embedry._pipeline.readers import Batch, TextBatcher, TokenBatcher, TokenizedBlock, started_workers
from embedry._pipeline.texts import blocks
from embedry.backend import Encoder, TextEncoder
from embedry.errors import BackendError, EmbedryError, UnsupportedModelError, is_failure, some
from embedry.options import Config

_BLOCK_TEXTS = 2048
_BLOCK_BATCHES = 64
"""Texts are read in blocks of about so many batches: enough to sort them by length, few enough to hold two at a time."""

_CHARS_PER_TOKEN = 4
"""Of running text, about; only to tell the size of a block before it is read."""

_BLOCK_CHARS = 2**17
"""The least that a block may hold, for engines that want small batches or report none."""


@dataclass(frozen=True)
class BlockInFlight:
    """A block that is being computed: where its vectors are written, and by what."""

    rows: NDArray[np.float32]
    futures: list[Future[None]]


class _BatchFailedError(Exception):
    """An engine failed for the texts at these places of a block; the cause says how."""

    def __init__(self, places: NDArray[np.intp]) -> None:
        super().__init__(places)
        self.places = places


class Pipeline:
    """A loaded engine, and the way to it and back."""

    def __init__(self, config: Config, folder: Path, encoder: Encoder | TextEncoder, pad_id: int = 0) -> None:
        self._config = config
        self.folder = folder
        self.pad_id = pad_id
        self._tail = modules.split(config.chain)[1]
        self.encoder = encoder
        self._trimmed = HeapTrimmer()
        self._workers = started_workers(encoder)
        if isinstance(encoder, TextEncoder):
            self._read: Callable[[Sequence[str], str], TokenizedBlock] = TextBatcher(config, encoder).read
            self._block_chars = _BLOCK_CHARS
        elif config.spec.transformer is None or modules.leaves_out_prompt(config.spec.body):
            raise UnsupportedModelError(
                f"the backend {config.backend!r} runs {config.spec.name!r} over token ids, which is not how it reads texts"
            )
        else:
            self._read = TokenBatcher(config, folder, encoder, pad_id).read
            self._block_chars = max(_BLOCK_CHARS, _BLOCK_BATCHES * encoder.batch_tokens * _CHARS_PER_TOKEN)

    def encode(self, texts: Sequence[str], prompt: str) -> NDArray[np.float32]:
        """Vectors of checked texts, float32 (len(texts), dims), in their order. Equal texts are computed once.

        Raises:
            TextTooLongError: before anything is computed, under on_overflow="error".
            BackendError: the engine broke its contract.
        """
        unique, inverse = _distinct(texts)
        read: Iterable[TokenizedBlock] = (self._read(part, prompt) for part in self._parts(unique))
        if self._config.on_overflow != "truncate":  # all is read before anything is computed
            read = list(read)
            self._report(read, inverse)
        result = np.empty((len(unique), self._config.dims), dtype=np.float32)
        start = 0
        try:
            for rows in self._computed(read):
                result[start : start + len(rows)] = rows
                start += len(rows)
        except _BatchFailedError as failed:  # in the block that starts here: those before it came
            raise self._failure(failed, [unique - start for unique in inverse]) from failed.__cause__
        return result if len(unique) == len(texts) else result[inverse]

    def stream(self, texts: Iterable[str], prompt: str) -> Iterator[NDArray[np.float32]]:
        """Streams the vectors of checked texts, block by block: float32 (texts of the block, dims), in their order.

        While one block is computed the next is read, and no more than these two are held. Equal texts of a block are
        computed once.

        Raises:
            As `encode`. What came before the block with the wrong text has been yielded by then.
        """
        inverses: deque[list[int]] = deque()
        start = 0

        def read() -> Iterator[TokenizedBlock]:
            nonlocal start
            for part in self._parts(texts):
                unique, inverse = _distinct(part)
                block = self._read(unique, prompt)
                self._report([block], inverse, start)
                inverses.append(inverse)
                start += len(part)
                yield block

        yielded = 0
        try:
            for rows in self._computed(read()):
                inverse = inverses.popleft()
                yield rows if len(rows) == len(inverse) else rows[inverse]
                yielded += len(inverse)
        except _BatchFailedError as failed:
            raise self._failure(failed, inverses[0], yielded) from failed.__cause__

    def _parts(self, texts: Iterable[str]) -> Iterator[list[str]]:
        return blocks(texts, count=_BLOCK_TEXTS, chars=self._block_chars)

    def _computed(self, read: Iterable[TokenizedBlock]) -> Iterator[NDArray[np.float32]]:
        """The vectors of each block, while the next one is read. An error in reading comes after the blocks before it."""
        source = iter(read)
        running: deque[BlockInFlight] = deque()
        wrong: Exception | None = None
        more = True
        try:
            while more or running:
                if more:
                    try:
                        block = next(source)
                    except StopIteration:
                        more = False
                    except Exception as error:
                        more, wrong = False, error
                    else:
                        self._start(block, running)
                if running and (len(running) > 1 or not more):
                    yield self._finished(running.popleft())
        finally:  # after an error or Ctrl-C nothing of this call goes on behind the caller's back
            for started in running:
                for future in started.futures:
                    future.cancel()
        if wrong is not None:
            raise wrong

    def _start(self, block: TokenizedBlock, running: deque[BlockInFlight]) -> None:
        alone = len(block.batches) == 1 and not running
        started = BlockInFlight(np.zeros((block.size, self._config.dims), dtype=np.float32), [])
        running.append(started)  # at once, so that an interrupt loses no future
        for batch in block.batches:
            if alone:  # a single request runs immediately, in its own thread
                self._finish(batch, started.rows)
            else:
                started.futures.append(self._workers.submit(self._finish, batch, started.rows))

    def _finished(self, block: BlockInFlight) -> NDArray[np.float32]:
        try:
            for future in block.futures:
                future.result()
        finally:
            for future in block.futures:
                future.cancel()
        return block.rows

    def _finish(self, batch: Batch, rows: NDArray[np.float32]) -> None:
        start = perf_counter()
        try:
            pooled = batch.compute()
        except EmbedryError:
            raise
        except BaseException as error:
            if not is_failure(error):
                raise
            raise _BatchFailedError(batch.positions) from error
        rows[batch.positions] = finishing.finish(
            pooled, self._tail, rows=len(batch.positions), width=self._config.spec.dims
        )
        self._trimmed(perf_counter() - start)

    def _failure(self, failed: _BatchFailedError, places: Sequence[int], start: int = 0) -> BackendError:
        """The error that says which of the caller's texts were in a batch.

        Args:
            failed: has their places in the block.
            places: the place of each of the caller's texts in the block, or beyond it.
            start: the position of the first of these.
        """
        lost = set(failed.places.tolist())
        positions = [start + position for position, place in enumerate(places) if place in lost]
        reason = failed.__cause__
        return BackendError(
            f"the backend {self._config.backend!r} failed for a batch of {len(positions)} texts, at positions "
            f"{some(positions, 10)}: {type(reason).__name__}: {reason}"
        )

    def _report(self, read: Sequence[TokenizedBlock], inverse: Sequence[int], start: int = 0) -> None:
        truncated: set[int] = set()
        first = 0
        for block in read:
            truncated.update(first + position for position in block.truncated)
            first += block.size
        positions = [start + position for position, unique in enumerate(inverse) if unique in truncated]
        report_overflow(positions, start + len(inverse), self._config.max_seq_length, self._config.on_overflow)


def _distinct(texts: Iterable[str]) -> tuple[list[str], list[int]]:
    """The texts without repetitions, and for each text its position among these."""
    positions: dict[str, int] = {}
    inverse = [positions.setdefault(text, len(positions)) for text in texts]
    return list(positions), inverse
