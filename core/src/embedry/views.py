"""What `resolve` returns: a lazy embedder, one for each configuration, a view on the engine that it shares with others."""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import chain, islice
from threading import RLock
from typing import TYPE_CHECKING, Self
from weakref import WeakValueDictionary

from embedry import engine
from embedry._files import digests, sources
from embedry._pipeline.texts import checked, each_checked
from embedry.embedder import BaseEmbedder
from embedry.fingerprint import space_fingerprint
from embedry.options import Config, checked_timeout
from embedry.prepared import EncodedBlock, Prepared, Token
from embedry.spec import ModelSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedry._pipeline.pipeline import Pipeline
    from embedry._pipeline.requests import Request


class LazyEmbedder(BaseEmbedder):
    """The shared embedder of one configuration. Knows its entry at once; its engine loads on first use.

    Embedders of one model that differ in `dims`, `normalize`, `max_seq_length`, `on_overflow` or prompts share an engine:
    the weights are in memory once. Safe to use from many threads, from exit handlers and from signal handlers.
    """

    def __init__(self, config: Config, shared_engine: engine.Engine | None = None) -> None:
        self.config = config
        self.engine = shared_engine or engine.Engine(config.engine)
        self.name = config.spec.name
        self.dims = config.dims
        self.max_seq_length = config.max_seq_length

    @property
    def spec(self) -> ModelSpec:
        """The registry entry."""
        return self.config.spec

    def encode(self, texts: Iterable[str], *, role: str, timeout: float | None = None) -> "NDArray[np.float32]":
        """See `Embedder.encode`. Everything that can be wrong with the call is found before the model is loaded.

        Args:
            texts: an iterable of `str`.
            role: "query", "document", or a task that the model's entry names.
            timeout: seconds after which to give up; what is not being computed by then is dropped.

        Raises:
            EncodeTimeoutError: the time is over.
            OptionError: `timeout` is not a number.
            As `Embedder.encode`.
        """
        from embedry._pipeline.requests import Request

        return self._encode(texts, role, Request(checked_timeout(timeout)))

    async def aencode(self, texts: Iterable[str], *, role: str) -> "NDArray[np.float32]":
        """`encode` without blocking the event loop. A task that is cancelled drops what is not being computed yet."""
        import asyncio

        from embedry._pipeline.requests import Request

        request = Request()
        try:
            return await asyncio.to_thread(self._encode, texts, role, request)
        except asyncio.CancelledError:
            request.cancel()
            raise

    def _encode(self, texts: Iterable[str], role: str, request: "Request") -> "NDArray[np.float32]":
        found = checked(texts)
        prompt = self.spec.prompt(role)
        if not found:
            import numpy as np

            return np.empty((0, self.dims), dtype=np.float32)
        return self._pipeline().encode(found, prompt, request)

    def encode_stream(self, texts: Iterable[str], *, role: str) -> "Iterator[NDArray[np.float32]]":
        """See `Embedder.encode_stream`. The role and the kind of `texts` are checked at once, each text when it comes."""
        return _vectors(self.encode_blocks(texts, role=role))

    def encode_blocks(self, texts: Iterable[str], *, role: str) -> Generator[EncodedBlock, None, None]:
        """`encode_stream` that also gives the number of tokens of each text, and the positions of truncated ones."""
        remaining = each_checked(texts)
        prompt = self.spec.prompt(role)
        return self._blocks(remaining, prompt)

    def _blocks(self, texts: Iterator[str], prompt: str) -> Generator[EncodedBlock, None, None]:
        first = list(islice(texts, 1))
        if first:  # nothing is loaded for no text, or for one that is wrong
            from embedry._pipeline.requests import Request

            yield from self._pipeline().stream(chain(first, texts), prompt, Request())

    def prepare(self, texts: Iterable[str], *, role: str) -> Prepared:
        """Reads the texts and computes nothing yet: the result knows their tokens, and which of them are too long.

        Raises:
            TextTooLongError: one is too long, under on_overflow="error".
            As `Embedder.encode`.
        """
        found = checked(texts)
        prompt = self.spec.prompt(role)
        from embedry._pipeline.requests import Request

        return self._pipeline().prepare(found, prompt, Request())

    def count_tokens(self, texts: Iterable[str], *, role: str) -> list[int]:
        """How many tokens each text has, however long it is: with the role's prompt and special tokens, before truncation.

        A text fits if it has no more than `max_seq_length`.

        Raises:
            As `Embedder.encode`.
        """
        found = checked(texts)
        prompt = self.spec.prompt(role)
        return self._pipeline().engine.reader.lengths(found, prompt) if found else []

    def tokenize(self, texts: Iterable[str], *, role: str) -> list[list[Token]]:
        """The tokens of each text, however long it is; the model reads no more than `max_seq_length` of them.

        Raises:
            UnsupportedModelError: the engine reads texts in its own way.
            As `Embedder.encode`.
        """
        found = checked(texts)
        prompt = self.spec.prompt(role)
        return self._pipeline().engine.reader.tokenize(found, prompt) if found else []

    def load(self) -> Self:
        """Loads the model now instead of on first use; returns the embedder. Of many threads one loads, the others wait.

        Raises:
            FilesError, UnsupportedModelError, BackendError: the model cannot be loaded.
        """
        self._pipeline()
        return self

    def unload(self) -> None:
        """Gives back the memory of the engine, also for all other embedders that share it.

        Calls that are under way finish, and the memory is given back after them. The next call loads again.
        """
        self.engine.unload()

    def __enter__(self) -> Self:
        """`with resolve(...) as embedder:` unloads the engine at the end of the block, or of the last one that is open."""
        self.engine.enter()
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.leave()

    def _pipeline(self) -> "Pipeline":
        from embedry._pipeline.pipeline import Pipeline  # and numpy, which takes longer inside the import of an engine

        return Pipeline(self.engine.load(), self.config)

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory."""
        return self.engine.loaded is not None

    @property
    def computed_tokens(self) -> tuple[int, int]:
        """Tokens that the engine has computed since it was loaded, for all embedders that share it: those of texts, and those
        with the padding of batches. (0, 0) before.
        """
        loaded = self.engine.loaded
        return (loaded.scheduler.tokens, loaded.scheduler.padded_tokens) if loaded is not None else (0, 0)

    @property
    def fingerprint(self) -> str:
        """24 hex digits that name the vector space; whatever stores vectors stores this and compares it.

        Known from the entry alone where the entry has digests; else the files are found and read.
        """
        spec, config = self.spec, self.config
        known = {file: digest for file, digest in spec.files.items() if digest is not None}
        if len(known) < len(spec.files):
            folder = sources.ensure_local(spec, config.cache_dir)
            known = {file: digests.remembered_sha256(folder / file, config.cache_dir) for file in spec.files}
        return space_fingerprint(
            spec,
            known,
            chain=config.chain,
            max_seq_length=config.max_seq_length,
            int8_calibration=spec.int8.calibration.sha256 if spec.int8 and config.precision == "int8" else None,
        )

    @property
    def info(self) -> Mapping[str, str]:
        """What computes the vectors, for people: backend, device, how many embedders share the engine and, once it is
        loaded, what the backend reports, such as the memory of its weights.
        """
        sharing = sum(each.engine is self.engine for each in tuple(_views.values()))
        return {**self.engine.info, "embedders": str(max(1, sharing))}

    def __reduce__(self) -> "tuple[Callable[[Config], LazyEmbedder], tuple[Config]]":
        return shared, (self.config,)

    def __repr__(self) -> str:
        state = "loaded" if self.loaded else "not loaded"
        return f"<embedry {self.name!r} dims={self.dims} backend={self.config.backend!r} {state}>"


def _vectors(blocks: Generator[EncodedBlock, None, None]) -> "Iterator[NDArray[np.float32]]":
    with closing(blocks):  # a stream that is closed stops at once
        for block in blocks:
            yield block.vectors


_views: WeakValueDictionary[Config, LazyEmbedder] = WeakValueDictionary()
_lock = RLock()  # a signal handler may resolve while its own thread does


def shared(config: Config) -> LazyEmbedder:
    """The one embedder of a configuration; made if there is none."""
    with _lock:
        view = _views.get(config)
        if view is None:
            view = _views[config] = LazyEmbedder(config, engine.shared(config.engine))
        return view


def _after_fork_in_child() -> None:
    global _lock
    _lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
