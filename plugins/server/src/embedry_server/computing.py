"""Turns a request body into results: parses, accepts or rejects, and computes it."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any, NamedTuple, TypeVar, cast

from starlette.requests import Request

from embedry import EmbedryError, LazyReranker, Prepared
from embedry_server.errors import ApiError, ClientGoneError, as_api_error
from embedry_server.models import AnyModel, ServedModel
from embedry_server.queue import Queue
from embedry_server.settings import Limits

T = TypeVar("T")

_READERS = 8
"""Threads that read large bodies and write large answers. Both take little time compared with computing."""

_SMALL = 2048
"""Bytes of work that the event loop does itself: less time than handing it to a thread and back. Measured with questions of 64
connections: 483 requests a second, and 448 with a thread for each (docs/performance.md)."""


class Read(NamedTuple):
    """A parsed request."""

    model: ServedModel
    view: AnyModel
    role: str
    prepared: Prepared[Any]
    inputs: int
    """Texts, or pairs."""
    tokens: int
    """Of all inputs together."""
    truncated: Sequence[int]
    """The positions of inputs that are longer than the model reads."""


class Computed(NamedTuple):
    """The results of a request."""

    result: Any
    """What its model gives: an array of vectors or of logits, `SparseVectors` or `TokenVectors`."""
    queued: float
    """Seconds until the first of it was computed."""
    seconds: float
    """Seconds from then to the last of it."""


class Computing:
    """The computation that all routes share."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.queue = Queue(limits.queue_tokens, limits.deadline)
        self._threads = ThreadPoolExecutor(_READERS, thread_name_prefix="embedry-server")

    async def off_loop(self, size: int, work: Callable[[], T]) -> T:
        """Returns the result of `work`, which runs in another thread unless it handles only a few bytes."""
        if size <= _SMALL:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def read_texts(
        self, model: ServedModel, view: AnyModel, role: str, given: str | Sequence[object], *, truncate: bool
    ) -> Read:
        """Validates and tokenizes the texts of a request.

        Raises:
            ApiError: there are no texts or too many, one is not a string or too long, or the total of tokens is too large.
        """
        return self._read(model, view, role, self.texts(given), "input", truncate=truncate)

    def read_pairs(
        self, model: ServedModel, role: str, query: str, documents: Sequence[str], field: str, *, truncate: bool
    ) -> Read:
        """The same for a query and documents, which are in this field of the request."""
        view = cast("LazyReranker", model.embedder)
        pairs = [(query, document) for document in self.texts(documents, field)]
        if len(query) * len(pairs) > self.limits.tokens:  # before a long query is put together with each document
            least = min(view.count_tokens([(query, "")], role=role)[0], view.max_seq_length)
            self._check_tokens(least * len(pairs), field)
        return self._read(model, view, role, pairs, field, truncate=truncate)

    def _read(
        self, model: ServedModel, view: AnyModel, role: str, items: Sequence[Any], field: str, *, truncate: bool
    ) -> Read:
        try:
            prepared = view.prepare(items, role=role)
            tokens = prepared.tokens
            if tokens is None:  # only the engine knows
                tokens = [min(count, view.max_seq_length) for count in view.count_tokens(items, role=role)]
            truncated = sorted({*prepared.truncated, *prepared.truncated_queries})
        except EmbedryError as error:
            raise as_api_error(error, field) from error
        if truncated and not truncate:
            what = "documents, with their query," if view.spec.kind == "reranker" else "inputs"
            raise ApiError(
                400,
                f"{len(truncated)} of {len(items)} {what} are longer than the {view.config.length(role)} tokens that "
                f"{model.name!r} reads, at positions {', '.join(map(str, truncated[:10]))}; split them, or send truncate: true",
                param=field,
                code="context_length_exceeded",
            )
        total = sum(tokens)
        self._check_tokens(total, field)
        return Read(model, view, role, prepared, len(items), total, truncated)

    def _check_tokens(self, total: int, field: str) -> None:
        if total > self.limits.tokens:
            raise ApiError(
                400,
                f"the inputs have {total:,} tokens, and a request may have {self.limits.tokens:,}; send fewer inputs per request",
                param=field,
                code="too_many_tokens",
            )

    def texts(self, given: str | Sequence[object], field: str = "input") -> list[str]:
        """The texts of a request. Raises ApiError if there are none or too many, or one is not a string."""
        texts = [given] if isinstance(given, str) else list(given)
        if not texts:
            raise ApiError(400, "there are no inputs; send at least one text", param=field)
        if len(texts) > self.limits.inputs:
            raise ApiError(
                400,
                f"there are {len(texts):,} inputs, and a request may have {self.limits.inputs:,}; send several requests",
                param=field,
            )
        wrong = next((position for position, text in enumerate(texts) if not isinstance(text, str)), None)
        if wrong is not None:
            raise ApiError(
                400,
                f"input {wrong} is made of token ids, which depend on a tokenizer; send texts. LangChain: "
                "OpenAIEmbeddings(check_embedding_ctx_length=False)",
                param=field,
                code="token_ids",
            )
        return texts  # type: ignore[return-value]

    async def compute(self, request: Request, read: Read) -> Computed:
        """The results of a parsed request.

        Raises:
            ApiError: the queue is full, status 429; the deadline has passed, 504; the engine failed, 500.
            ClientGoneError: the client disconnected; work that has not started is dropped.
        """
        with self.queue.accepted(read.tokens):
            begun = perf_counter()
            computation = read.prepared.start()
            results = asyncio.ensure_future(computation)
            gone = asyncio.ensure_future(request.receive())
            try:
                await asyncio.wait({results, gone}, timeout=self.limits.deadline, return_when=asyncio.FIRST_COMPLETED)
                if results.done():
                    queued = computation.queued or 0.0
                    return Computed(results.result(), queued, perf_counter() - begun - queued)
                if gone.done():
                    raise ClientGoneError
                raise ApiError(
                    504,
                    f"the results were not ready within the {self.limits.deadline:g} s of the server's deadline; send fewer inputs",
                    code="deadline_exceeded",
                )
            except EmbedryError as error:
                raise as_api_error(error) from error
            finally:
                if not results.done():
                    results.cancel()
                    computation.cancel()
                gone.cancel()
