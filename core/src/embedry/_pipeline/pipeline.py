"""The pipeline from texts to vectors, the same for every engine. Heavy modules are imported here, on first use.

texts -> distinct ones, in parts -> prompt, token ids, overflow policy -> batches by token budget, longest first
      -> [ a worker: ids and mask -> the engine -> finite and shape check -> the tail of the chain ]
      -> the caller's order
"""

import asyncio
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import starmap

import numpy as np
from numpy.typing import NDArray

from embedry._pipeline import finishing
from embedry._pipeline.loaded import LoadedEngine
from embedry._pipeline.overflow import report_overflow
from embedry._pipeline.readers import Read, ReadBlock, tokens_of, truncated_of
from embedry._pipeline.requests import Block, Request
from embedry._pipeline.texts import Part, Parts, parts_of_call, parts_of_stream
from embedry.errors import BackendError, EmbedryError, is_failure, some
from embedry.options import Config
from embedry.prepared import Computation, EncodedBlock, Prepared

_BLOCK_TEXTS = 2048
"""The most texts that are read at a time; the most characters are the reader's to say."""


class Pipeline:
    """The way of one embedder's texts through a loaded engine and back."""

    def __init__(self, engine: LoadedEngine, config: Config) -> None:
        engine.reader.check(config)
        self.engine = engine
        self.config = config

    def encode(self, texts: Sequence[str], prompt: str, request: Request) -> NDArray[np.float32]:
        """Vectors of checked texts, float32 (len(texts), dims), in their order. Equal texts are computed once.

        Raises:
            TextTooLongError: before anything is computed, under on_overflow="error".
            BackendError: the engine failed, or broke its contract.
            EncodeTimeoutError: the request's deadline has passed.
        """
        read: Iterable[Read] = self._read(parts_of_call, texts, prompt, request)
        if self.config.on_overflow != "truncate":  # all is read before anything is computed
            read = self._reported(list(read))
        return self._gathered(read, request)

    def prepare(self, texts: Sequence[str], prompt: str, request: Request) -> Prepared:
        """Reads checked texts. Raises TextTooLongError under on_overflow="error"."""
        read = self._reported(list(self._read(parts_of_call, texts, prompt, request, count=True)))
        return Prepared(
            tokens_of(read),
            truncated_of(read),
            compute=lambda timeout: self._gathered(read, Request(timeout)),
            start=lambda: self._started(read, Request()),
        )

    def stream(self, texts: Iterable[str], prompt: str, request: Request) -> Generator[EncodedBlock, None, None]:
        """Vectors of checked texts, block by block, in their order. Equal texts of a block are computed once.

        While one block is computed the next is read, and no more than these two are held.

        Raises:
            As `encode`. What came before the block with the wrong text has been yielded by then.
        """
        read = (self._reported([each])[0] for each in self._read(parts_of_stream, texts, prompt, request))
        with request:
            for part, block, vectors in self._computed(read, request):
                read_block = [(part, block)]
                yield EncodedBlock(part.spread(vectors), tokens_of(read_block), truncated_of(read_block))

    def _gathered(self, read: Iterable[Read], request: Request) -> NDArray[np.float32]:
        with request:
            return self._joined(self._computed(read, request))

    def _started(self, read: list[Read], request: Request) -> Computation:
        loop = asyncio.get_running_loop()
        done = [loop.create_future() for _ in read]
        in_flight = [
            (part, block, *self._submitted(block, request, partial(_notify, loop, future)))
            for (part, block), future in zip(read, done, strict=True)
        ]

        async def vectors() -> NDArray[np.float32]:
            with request:
                for (_, _, _, block), future in zip(in_flight, done, strict=True):
                    if not block.is_done:
                        await future
                return self._joined(starmap(self._waited_for, in_flight))

        return Computation(vectors, begun=lambda: request.begun, cancel=request.cancel)

    def _joined(self, computed: Iterable[tuple[Part, ReadBlock, NDArray[np.float32]]]) -> NDArray[np.float32]:
        vectors = np.empty((0, self.config.dims), dtype=np.float32)
        part = None
        for part, _, some_vectors in computed:
            if part.first == 0:
                vectors = np.empty((part.total, self.config.dims), dtype=np.float32)
            vectors[part.first : part.first + len(some_vectors)] = some_vectors
        return part.spread(vectors) if part is not None else vectors

    def _read(
        self, parts: Parts, texts: Iterable[str], prompt: str, request: Request, *, count: bool = False
    ) -> Iterator[Read]:
        reader, config = self.engine.reader, self.config
        count = count or config.on_overflow != "truncate"
        for some_texts, part in parts(texts, count=_BLOCK_TEXTS, chars=reader.block_chars):
            yield part, reader.read(some_texts, prompt, config.max_seq_length, step=request.remaining, count=count)

    def _reported(self, read: list[Read]) -> list[Read]:
        total = max((part.start + len(part.inverse) for part, _ in read), default=0)
        report_overflow(truncated_of(read), total, self.config.max_seq_length, self.config.on_overflow)
        return read

    def _computed(
        self, read: Iterable[Read], request: Request
    ) -> Iterator[tuple[Part, ReadBlock, NDArray[np.float32]]]:
        """Each part with its vectors, while the next one is read. An error in reading comes after the parts before it."""
        source = iter(read)
        in_flight: deque[tuple[Part, ReadBlock, NDArray[np.float32], Block]] = deque()
        wrong: Exception | None = None
        while wrong is None:
            try:
                part, block = next(source)
            except StopIteration:
                break
            except Exception as error:
                wrong = error
            else:
                in_flight.append((part, block, *self._submitted(block, request)))
                if len(in_flight) > 1:
                    yield self._waited_for(*in_flight.popleft())
        while in_flight:
            yield self._waited_for(*in_flight.popleft())
        if wrong is not None:
            raise wrong

    def _submitted(
        self, read: ReadBlock, request: Request, when_done: Callable[[], object] | None = None
    ) -> tuple[NDArray[np.float32], Block]:
        """Where the vectors will be, and the block to wait for."""
        vectors = np.zeros((len(read.rows), self.config.dims), dtype=np.float32)
        batches = [(batch, [read.rows[place] for place in batch]) for batch in read.batches]
        block = Block(request, batches, partial(self._finish, vectors), when_done)
        self.engine.scheduler.submit(block)
        return vectors, block

    def _finish(self, vectors: NDArray[np.float32], positions: NDArray[np.intp], result: NDArray[np.float32]) -> None:
        config = self.config
        vectors[positions] = finishing.finish(result, config.tail, rows=len(positions), width=config.spec.dims)

    def _waited_for(
        self, part: Part, read: ReadBlock, vectors: NDArray[np.float32], block: Block
    ) -> tuple[Part, ReadBlock, NDArray[np.float32]]:
        self.engine.scheduler.check_process()
        block.wait()
        if block.failure is None:
            return part, read, vectors
        (batch, error), block.failure = block.failure, None  # the error's traceback refers to the block
        if isinstance(error, EmbedryError) or not is_failure(error):
            raise error
        positions = part.positions(batch.positions.tolist())
        raise BackendError(
            f"the backend {self.config.backend!r} failed for a batch of {len(positions)} texts, at positions "
            f"{some(positions, 10)}: {type(error).__name__}: {error}"
        ) from error


def _notify(loop: asyncio.AbstractEventLoop, future: "asyncio.Future[None]") -> None:
    with suppress(RuntimeError):  # a loop that was closed meanwhile: nobody waits
        loop.call_soon_threadsafe(_resolve, future)


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():  # nor does a task that was cancelled
        future.set_result(None)
