"""The pipeline from texts to vectors, the same for every engine. Heavy modules are imported here, on first use.

texts -> distinct ones, in parts -> prompt, token ids, overflow policy -> batches by token budget, longest first
      -> [ a worker: ids and mask -> the engine -> finite and shape check -> the tail of the chain ]
      -> the caller's order
"""

import weakref
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embedry import modules
from embedry._pipeline import finishing
from embedry._pipeline.overflow import report_overflow
from embedry._pipeline.readers import ReadBlock, Reader
from embedry._pipeline.scheduler import Block, Request, Scheduler
from embedry._pipeline.texts import Part, parts_of_call, parts_of_stream
from embedry.backend import Encoder, ModelConfig, TextEncoder
from embedry.errors import BackendError, EmbedryError, is_failure, some
from embedry.options import Config
from embedry.prepared import EncodedBlock

_BLOCK_TEXTS = 2048
"""The most texts that are read at a time; the most characters are the reader's to say."""

Read = tuple[Part, ReadBlock]


class LoadedEngine:
    """A model in memory, and the threads that compute with it, which end when nothing refers to this any more."""

    def __init__(self, folder: Path, model: ModelConfig | None, encoder: Encoder | TextEncoder, reader: Reader) -> None:
        self.folder = folder
        self.model = model
        self.encoder = encoder
        self.reader = reader
        self.scheduler = Scheduler(reader)
        weakref.finalize(self, self.scheduler.stop).atexit = False  # exit handlers may still embed


class Pipeline:
    """The way of one embedder's texts through a loaded engine and back."""

    def __init__(self, engine: LoadedEngine, config: Config) -> None:
        engine.reader.check(config)
        self.engine = engine
        self.config = config
        self._tail = modules.split(config.chain)[1]

    def encode(self, texts: Sequence[str], prompt: str, request: Request) -> NDArray[np.float32]:
        """Vectors of checked texts, float32 (len(texts), dims), in their order. Equal texts are computed once.

        Raises:
            TextTooLongError: before anything is computed, under on_overflow="error".
            BackendError: the engine failed, or broke its contract.
            EncodeTimeoutError: the request's deadline has passed.
        """
        if self.config.on_overflow != "truncate":  # all is read before anything is computed
            return self.gathered(self.prepare(texts, prompt, request), request)
        return self.gathered(self._read(self._parts_of_call(texts), prompt, request), request)

    def prepare(self, texts: Sequence[str], prompt: str, request: Request) -> list[Read]:
        """Reads checked texts, for `gathered`. Raises TextTooLongError under on_overflow="error"."""
        read = list(self._read(self._parts_of_call(texts), prompt, request, count=True))
        if read:
            self._report(read)
        return read

    def stream(self, texts: Iterable[str], prompt: str, request: Request) -> Generator[EncodedBlock, None, None]:
        """Vectors of checked texts, block by block, in their order. Equal texts of a block are computed once.

        While one block is computed the next is read, and no more than these two are held.

        Raises:
            As `encode`. What came before the block with the wrong text has been yielded by then.
        """
        parts = parts_of_stream(texts, count=_BLOCK_TEXTS, chars=self.engine.reader.block_chars)
        with request:
            for part, read, vectors in self._computed(self._reported(self._read(parts, prompt, request)), request):
                tokens = [read.tokens[place] for place in part.inverse] if read.tokens is not None else None
                yield EncodedBlock(part.spread(vectors), tokens, part.positions(read.truncated))

    def gathered(self, read: Iterable[Read], request: Request) -> NDArray[np.float32]:
        """The vectors of a call's texts, float32 (texts, dims), from what was read of them."""
        with request:
            for part, _, vectors in self._computed(read, request):
                if part.first == 0:
                    result = np.empty((part.total, self.config.dims), dtype=np.float32)
                result[part.first : part.first + len(vectors)] = vectors
            return part.spread(result)

    def _parts_of_call(self, texts: Sequence[str]) -> Iterator[tuple[list[str], Part]]:
        return parts_of_call(texts, count=_BLOCK_TEXTS, chars=self.engine.reader.block_chars)

    def _read(
        self, parts: Iterable[tuple[list[str], Part]], prompt: str, request: Request, *, count: bool = False
    ) -> Iterator[Read]:
        reader, config = self.engine.reader, self.config
        count = count or config.on_overflow != "truncate"
        for texts, part in parts:
            yield part, reader.read(texts, prompt, config.max_seq_length, step=request.remaining, count=count)

    def _reported(self, read: Iterable[Read]) -> Iterator[Read]:
        for each in read:
            self._report([each])
            yield each

    def _report(self, read: Sequence[Read]) -> None:
        positions = sorted({position for part, block in read for position in part.positions(block.truncated)})
        last, _ = read[-1]
        total = last.start + len(last.inverse)
        report_overflow(positions, total, self.config.max_seq_length, self.config.on_overflow)

    def _computed(
        self, read: Iterable[Read], request: Request
    ) -> Iterator[tuple[Part, ReadBlock, NDArray[np.float32]]]:
        """Each part with its vectors, while the next one is read. An error in reading comes after the parts before it."""
        source = iter(read)
        in_flight: deque[tuple[Part, ReadBlock, NDArray[np.float32], Block]] = deque()
        wrong: Exception | None = None
        more = True
        while more or in_flight:
            if more:
                try:
                    part, block = next(source)
                except StopIteration:
                    more = False
                except Exception as error:
                    more, wrong = False, error
                else:
                    in_flight.append((part, block, *self._submitted(block, request)))
            if in_flight and (len(in_flight) > 1 or not more):
                part, block, vectors, computed = in_flight.popleft()
                self._wait(part, computed)
                yield part, block, vectors
        if wrong is not None:
            raise wrong

    def _submitted(self, read: ReadBlock, request: Request) -> tuple[NDArray[np.float32], Block]:
        """Where the vectors will be, and the block to wait for."""
        vectors = np.zeros((len(read.rows), self.config.dims), dtype=np.float32)

        def finish(positions: NDArray[np.intp], result: NDArray[np.float32]) -> None:
            width = self.config.spec.dims
            vectors[positions] = finishing.finish(result, self._tail, rows=len(positions), width=width)

        block = Block(request, [(batch, [read.rows[place] for place in batch]) for batch in read.batches], finish)
        self.engine.scheduler.submit(block)
        return vectors, block

    def _wait(self, part: Part, block: Block) -> None:
        self.engine.scheduler.check_process()
        block.wait()
        if block.failure is None:
            return
        (batch, error), block.failure = block.failure, None  # the error's traceback refers to the block
        if isinstance(error, EmbedryError) or not is_failure(error):
            raise error
        positions = part.positions(batch.positions.tolist())
        raise BackendError(
            f"the backend {self.config.backend!r} failed for a batch of {len(positions)} texts, at positions "
            f"{some(positions, 10)}: {type(error).__name__}: {error}"
        ) from error
