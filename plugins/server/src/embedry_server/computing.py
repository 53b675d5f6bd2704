"""From the body of a request to vectors: it is read, accepted or refused, and computed."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from embedry import EmbedryError, LazyEmbedder, Prepared
from embedry_server.errors import ApiError, ClientGoneError, as_api_error
from embedry_server.models import ServedModel
from embedry_server.queue import Queue
from embedry_server.settings import Limits

T = TypeVar("T")

_READERS = 8
"""Threads that read large bodies and write large answers. Both take little time compared with computing."""

_SMALL = 2048
"""Bytes of work that the event loop does itself: less time than handing it to a thread and back. Measured with questions of 64
connections: 483 requests a second, and 448 with a thread for each (docs/performance.md)."""


class Read(NamedTuple):
    """A request that was read."""

    model: ServedModel
    view: LazyEmbedder
    role: str
    prepared: Prepared
    inputs: int
    tokens: int
    """Of all inputs together."""


class Computed(NamedTuple):
    """What a request gives."""

    vectors: NDArray[np.float32]
    queued: float
    """Seconds until the first of it was computed."""
    seconds: float
    """Seconds from then to the last of it."""


class Computing:
    """What all routes share to compute vectors."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.queue = Queue(limits.queue_tokens, limits.deadline)
        self._threads = ThreadPoolExecutor(_READERS, thread_name_prefix="embedry-server")

    async def off_loop(self, size: int, work: Callable[[], T]) -> T:
        """What `work` returns; another thread does it, unless it concerns only a few bytes."""
        if size <= _SMALL:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def read(
        self, model: ServedModel, view: LazyEmbedder, role: str, given: str | Sequence[object], *, truncate: bool
    ) -> Read:
        """Checks the texts of a request and reads them into tokens.

        Raises:
            ApiError: there are none or too many, one is no text, too long, or all have too many tokens.
        """
        texts = self.texts(given)
        try:
            prepared = view.prepare(texts, role=role)
            tokens = prepared.tokens
            if tokens is None:  # only the engine knows
                tokens = [min(count, view.max_seq_length) for count in view.count_tokens(texts, role=role)]
        except EmbedryError as error:
            raise as_api_error(error) from error
        if prepared.truncated and not truncate:
            raise ApiError(
                400,
                f"{len(prepared.truncated)} of {len(texts)} inputs are longer than the {view.max_seq_length} tokens that "
                f"{model.name!r} reads, at positions {', '.join(map(str, prepared.truncated[:10]))}; split them, or send "
                "truncate: true",
                param="input",
                code="context_length_exceeded",
            )
        total = sum(tokens)
        if total > self.limits.tokens:
            raise ApiError(
                400,
                f"the inputs have {total:,} tokens, and a request may have {self.limits.tokens:,}; send fewer inputs a request",
                param="input",
                code="too_many_tokens",
            )
        return Read(model, view, role, prepared, len(texts), total)

    def texts(self, given: str | Sequence[object]) -> list[str]:
        """The texts of a request. Raises ApiError if there are none, too many, or one is no text."""
        texts = [given] if isinstance(given, str) else list(given)
        if not texts:
            raise ApiError(400, "there are no inputs; send at least one text", param="input")
        if len(texts) > self.limits.inputs:
            raise ApiError(
                400,
                f"there are {len(texts):,} inputs, and a request may have {self.limits.inputs:,}; send several requests",
                param="input",
            )
        wrong = next((position for position, text in enumerate(texts) if not isinstance(text, str)), None)
        if wrong is not None:
            raise ApiError(
                400,
                f"input {wrong} is made of token ids, which depend on a tokenizer; send texts. LangChain: "
                "OpenAIEmbeddings(check_embedding_ctx_length=False)",
                param="input",
                code="token_ids",
            )
        return texts  # type: ignore[return-value]

    async def compute(self, request: Request, read: Read) -> Computed:
        """The vectors of a request that was read.

        Raises:
            ApiError: it has no room, status 429; its deadline has passed, 504; the engine failed, 500.
            ClientGoneError: nobody waits for them; what was not being computed is dropped.
        """
        with self.queue.accepted(read.tokens):
            begun = perf_counter()
            computation = read.prepared.start()
            vectors = asyncio.ensure_future(computation)
            gone = asyncio.ensure_future(request.receive())
            try:
                await asyncio.wait({vectors, gone}, timeout=self.limits.deadline, return_when=asyncio.FIRST_COMPLETED)
                if vectors.done():
                    queued = computation.queued or 0.0
                    return Computed(vectors.result(), queued, perf_counter() - begun - queued)
                if gone.done():
                    raise ClientGoneError
                raise ApiError(
                    504,
                    f"the vectors were not ready within the {self.limits.deadline:g} s of the server's deadline; send fewer inputs",
                    code="deadline_exceeded",
                )
            except EmbedryError as error:
                raise as_api_error(error) from error
            finally:
                if not vectors.done():
                    vectors.cancel()
                    computation.cancel()
                gone.cancel()
