"""The pipeline from texts or pairs to results, the same for every engine. Heavy modules are imported here, on first use.

texts -> distinct ones, in parts -> prompt, token ids, overflow policy -> batches by token budget, longest first
      -> [ a worker: ids and mask -> the engine -> finite and shape check -> the tail of the chain ]
      -> the caller's order

What kind of results a model gives decides only how they are collected, see `results`.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import starmap
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embedry._pipeline.loaded import LoadedEngine
from embedry._pipeline.overflow import note_truncation, report_overflow
from embedry._pipeline.readers import Read, ReadBlock, tokens_of, truncated_of, truncated_queries_of
from embedry._pipeline.requests import Block, Request
from embedry._pipeline.results import results_of
from embedry._pipeline.texts import Part, Parts, parts_of_call, parts_of_stream
from embedry.errors import BackendError, EmbedryError, is_failure, some
from embedry.options import Config
from embedry.prepared import Computation, EncodedBlock, Prepared

if TYPE_CHECKING:
    import asyncio

_BLOCK_TEXTS = 2048
"""The most texts that are read at a time; the most characters are the reader's to say."""


class Pipeline:
    """The way of one model's texts, in one role, through a loaded engine and back. Of a reranker, the texts are pairs."""

    def __init__(self, engine: LoadedEngine, config: Config, role: str) -> None:
        engine.reader.check(config)
        self.engine = engine
        self.config = config
        self._role = role
        self._results = results_of(config, role, engine)

    def encode(self, texts: Sequence[Any], request: Request) -> Any:
        """The results of checked texts, in their order. Equal texts are computed once.

        Raises:
            TextTooLongError: before anything is computed, under on_overflow="error".
            BackendError: the engine failed, or broke its contract.
            EncodeTimeoutError: the request's deadline has passed.
        """
        read: Iterable[Read] = self._read(parts_of_call, texts, request)
        if self.config.reports_overflow:  # all is read before anything is computed
            read = self._reported(list(read))
        return self._gathered(self._noted(read), request)

    def prepare(self, texts: Sequence[Any], request: Request) -> Prepared[Any]:
        """Reads checked texts. Raises TextTooLongError under on_overflow="error"."""
        read = self._reported(list(self._read(parts_of_call, texts, request, count=True)))
        return Prepared(
            tokens_of(read),
            truncated_of(read),
            truncated_queries_of(read),
            compute=lambda timeout: self._gathered(read, Request(timeout)),
            start=lambda: self._started(read, Request()),
        )

    def stream(self, texts: Iterable[Any], request: Request) -> Generator[EncodedBlock[Any], None, None]:
        """The results of checked texts, block by block, in their order. Equal texts of a block are computed once.

        While one block is computed the next is read, and no more than these two are held.

        Raises:
            As `encode`. What came before the block with the wrong text has been yielded by then.
        """
        read = (self._reported([each])[0] for each in self._read(parts_of_stream, texts, request))
        with request:
            for part, block, room in self._computed(read, request):
                read_block = [(part, block)]
                collected = self._results.collected(room, part.repeats)
                yield EncodedBlock(collected, tokens_of(read_block), truncated_of(read_block))

    def _gathered(self, read: Iterable[Read], request: Request) -> Any:
        with request:
            return self._collected(self._computed(read, request))

    def _started(self, read: list[Read], request: Request) -> Computation[Any]:
        import asyncio  # which takes a tenth of the time of loading a model, for those who never await

        loop = asyncio.get_running_loop()
        done = [loop.create_future() for _ in read]
        room = self._results.empty(read[0][0].total if read else 0)
        in_flight = [
            (part, block, room, self._submitted(part, block, room, request, partial(_notify, loop, future)))
            for (part, block), future in zip(read, done, strict=True)
        ]

        async def results() -> Any:
            with request:
                for (_, _, _, block), future in zip(in_flight, done, strict=True):
                    if not block.is_done:
                        await future
                return self._collected(starmap(self._waited_for, in_flight))

        return Computation(results, begun=lambda: request.begun, cancel=request.cancel)

    def _collected(self, computed: Iterable[tuple[Part, ReadBlock, Any]]) -> Any:
        """What the caller gets of all parts of a call, which share their room."""
        parts = [(room, part.repeats) for part, _, room in computed]
        return self._results.collected(*parts[-1]) if parts else self._results.collected(self._results.empty(0), None)

    def _read(self, parts: Parts, texts: Iterable[Any], request: Request, *, count: bool = False) -> Iterator[Read]:
        reader, config = self.engine.reader, self.config
        count = count or config.reports_overflow
        for some_texts, part in parts(texts, count=_BLOCK_TEXTS, chars=reader.block_chars):
            yield part, reader.read(some_texts, self._role, config, step=request.remaining, count=count)

    def _noted(self, read: Iterable[Read]) -> Iterator[Read]:
        for part, block in read:
            note_truncation(block.truncated, self.config)
            yield part, block

    def _reported(self, read: list[Read]) -> list[Read]:
        total = max((part.start + len(part.inverse) for part, _ in read), default=0)
        config, length = self.config, self.config.length(self._role)
        report_overflow(truncated_of(read), total, length, config.on_overflow, config.names[0])
        report_overflow(truncated_queries_of(read), total, length, config.on_query_overflow, config.names[1])
        return read

    def _computed(self, read: Iterable[Read], request: Request) -> Iterator[tuple[Part, ReadBlock, Any]]:
        """Each part with its results, while the next one is read. An error in reading comes after the parts before it."""
        source = iter(read)
        in_flight: deque[tuple[Part, ReadBlock, Any, Block]] = deque()
        wrong: Exception | None = None
        room: Any = None
        while wrong is None:
            try:
                part, block = next(source)
            except StopIteration:
                break
            except Exception as error:
                wrong = error
            else:
                if part.first == 0:  # of a call, or of a block of a stream
                    room = self._results.empty(part.total)
                in_flight.append((part, block, room, self._submitted(part, block, room, request)))
                if len(in_flight) > 1:
                    yield self._waited_for(*in_flight.popleft())
        while in_flight:
            yield self._waited_for(*in_flight.popleft())
        if wrong is not None:
            raise wrong

    def _submitted(
        self, part: Part, read: ReadBlock, room: Any, request: Request, when_done: Callable[[], object] | None = None
    ) -> Block:
        """The block to wait for, whose results will be in `room`."""
        batches = [(batch, [read.rows[place] for place in batch]) for batch in read.batches]
        block = Block(request, batches, partial(self._put, request, part.first, read.rows, room), when_done)
        self.engine.scheduler.submit(block)
        return block

    def _put(
        self,
        request: Request,
        first: int,
        rows: Sequence[Any],
        room: Any,
        positions: NDArray[np.intp],
        result: NDArray[np.float32],
    ) -> None:
        self._results.put(room, positions + first, [rows[place] for place in positions], result)
        if request.advance is not None:
            request.advance(len(positions))

    def _waited_for(self, part: Part, read: ReadBlock, room: Any, block: Block) -> tuple[Part, ReadBlock, Any]:
        self.engine.scheduler.check_process()
        block.wait()
        if block.failure is None:
            return part, read, room
        (batch, error), block.failure = block.failure, None  # the error's traceback refers to the block
        if isinstance(error, EmbedryError) or not is_failure(error):
            raise error
        positions = part.positions(batch.positions.tolist())
        raise BackendError(
            f"the backend {self.config.backend!r} failed for a batch of {len(positions)} {self.config.names[0]}, at positions "
            f"{some(positions, 10)}: {type(error).__name__}: {error}"
        ) from error


def _notify(loop: "asyncio.AbstractEventLoop", future: "asyncio.Future[None]") -> None:
    with suppress(RuntimeError):  # a loop that was closed meanwhile: nobody waits
        loop.call_soon_threadsafe(_resolve, future)


def _resolve(future: "asyncio.Future[None]") -> None:
    if not future.done():  # nor does a task that was cancelled
        future.set_result(None)
