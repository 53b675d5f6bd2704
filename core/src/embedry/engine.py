"""An engine: a loaded model, shared by all embedders that use it, and freed when it is unloaded."""

import gc
import os
import weakref
from collections.abc import Mapping
from pathlib import Path
from threading import Lock, get_ident
from time import perf_counter
from typing import TYPE_CHECKING

from embedry import _backends, _log, chains
from embedry._files import sources
from embedry.backend import Encoder, LoadRequest, ModelConfig, PairEncoder, TextEncoder
from embedry.errors import BackendContractError, BackendError, UnsupportedModelError
from embedry.heads import TermTable
from embedry.modules import StaticEmbedding
from embedry.options import EngineConfig

if TYPE_CHECKING:
    from embedry._pipeline.loaded import LoadedEngine
    from embedry._pipeline.readers import Reader


class Engine:
    """Loads on first use, and again on the first use after `unload`. Running calls keep the model that they use.

    If loading fails, the next call tries again.
    """

    def __init__(self, config: EngineConfig, loaded: "LoadedEngine | None" = None) -> None:
        self.config = config
        self._loaded = loaded
        self._lock = Lock()
        self._loading_thread: int | None = None
        self._with_blocks: list[None] = []  # a counter that threads can change without a lock

    @property
    def loaded(self) -> "LoadedEngine | None":
        """The model in memory, or None."""
        return self._loaded

    @property
    def info(self) -> Mapping[str, str]:
        """The settings in use and, once loaded, the details that the backend reports."""
        config, loaded = self.config, self._loaded
        basics = {"backend": config.backend, "device": config.device, "threads": str(config.threads)}
        return basics | dict(loaded.encoder.info) if loaded is not None else basics

    def load(self) -> "LoadedEngine":
        """The model in memory. If several threads call this, one loads and the others wait.

        Raises:
            FilesError, UnsupportedModelError, BackendError: the model cannot be loaded.
            BackendError: a signal handler interrupted this thread while it was loading the model.
        """
        loaded = self._loaded
        if loaded is not None:
            return loaded
        if self._loading_thread == get_ident():
            raise BackendError(
                f"{self.config.spec.name!r} cannot be used by a signal handler that interrupts its loading; "
                "load it before signals are handled: embedder.load()"
            )
        with self._lock:
            loaded = self._loaded
            if loaded is None:
                self._loading_thread = get_ident()
                start = perf_counter()
                try:
                    loaded = self._loaded = _load(self.config)
                finally:
                    self._loading_thread = None
                config = self.config
                seconds = perf_counter() - start
                _log.info("loaded %r on %s, %s, in %.2f s", config.spec.name, config.backend, config.device, seconds)
            return loaded

    def unload(self) -> None:
        """Frees the memory: at once, or when running computations end."""
        loaded, self._loaded = self._loaded, None
        if loaded is None:
            return
        _log.info("unloaded %r", self.config.spec.name)
        scheduler, left = loaded.scheduler, weakref.ref(loaded)
        del loaded
        if left() is None:  # not in use, and its threads are ending
            scheduler.join()
            del scheduler
            gc.collect()  # models of torch refer to themselves
            from embedry._pipeline.heap import HeapTrimmer

            HeapTrimmer().trim()

    def enter(self) -> None:
        """A `with` block begins."""
        self._with_blocks.append(None)

    def leave(self) -> None:
        """A `with` block ends; after the last one the engine is unloaded."""
        self._with_blocks.pop()
        if not self._with_blocks:
            self.unload()

    def forget_after_fork(self) -> "LoadedEngine | None":
        """Resets the engine in a forked child, without the parent's locks and threads. Returns what must be kept alive."""
        loaded, self._loaded = self._loaded, None
        self._lock, self._loading_thread = Lock(), None
        return loaded


_NO_FOLDER = Path(os.devnull)
"""Passed to backends that need no files; no file can be in it."""


def _load(config: EngineConfig) -> "LoadedEngine":
    backend = _backends.find(config.backend)
    folder, model = _files(config) if backend.needs_files else (_NO_FOLDER, None)
    request = LoadRequest(
        spec=config.spec,
        folder=folder,
        config=model,
        device=config.device,
        precision=config.precision,
        threads=config.threads,
        cache_dir=config.cache_dir,
    )
    encoder = backend.load(request)
    if not backend.needs_files and not isinstance(encoder, TextEncoder):
        raise BackendContractError(
            f"the backend {config.backend!r} declares needs_files = False, but takes token ids, which need the model's "
            "tokenizer; set needs_files = True"
        )
    return assembled(config, folder, model, encoder)


def _files(config: EngineConfig) -> tuple[Path, ModelConfig | None]:
    """The folder of the model's files and its config.json, verified and checked for consistency."""
    from embedry._files import consistency

    folder = sources.ensure_local(config.spec, config.cache_dir)
    return folder, consistency.check(config.spec, folder, cache_dir=config.cache_dir)


def assembled(
    config: EngineConfig, folder: Path, model: ModelConfig | None, encoder: Encoder | PairEncoder | TextEncoder
) -> "LoadedEngine":
    """A loaded encoder with its tokenizer and started workers.

    Raises:
        IntegrityError: the tokenizer cannot be used.
        UnsupportedModelError: the encoder takes token ids, and the model has none.
    """
    from embedry._pipeline.loaded import LoadedEngine
    from embedry._pipeline.pairs import PairTokenizer
    from embedry._pipeline.readers import PairReader, TextReader, TokenReader
    from embedry._pipeline.tokenizer import Tokenizer

    spec = config.spec
    first = spec.chain[0]
    other = Encoder if spec.kind == "reranker" else PairEncoder
    reader: Reader
    if isinstance(encoder, TextEncoder):
        reader = TextReader(encoder)
    elif isinstance(encoder, other) and not (isinstance(encoder, Encoder) and isinstance(encoder, PairEncoder)):
        raise BackendContractError(
            f"the backend {config.backend!r} loads a {type(encoder).__name__} for {spec.name!r}, a {spec.kind} model; "
            "a reranker is a PairEncoder, and every other model an Encoder"
        )
    elif isinstance(first, StaticEmbedding | TermTable):
        reader = TokenReader(Tokenizer(folder / first.tokenizer, special=False), encoder, pad_id=0, longest=None)
    elif spec.transformer is None or model is None or chains.leaves_out_prompt(spec.body):
        raise UnsupportedModelError(
            f"the backend {config.backend!r} runs {spec.name!r} over token ids, which is not how it reads texts"
        )
    else:
        file, pad, longest = folder / spec.tokenizer, model.pad_token_id, model.longest
        if spec.kind == "reranker":
            reader = PairReader(PairTokenizer(file, spec.transformer), encoder, pad_id=pad, longest=longest)
        else:
            reader = TokenReader(Tokenizer(file, spec.transformer), encoder, pad_id=pad, longest=longest)
    return LoadedEngine(folder, model, encoder, reader)


_engines: dict[EngineConfig, Engine] = {}
_of_parents: "list[LoadedEngine | None]" = []


def shared(config: EngineConfig) -> Engine:
    """The shared engine of a configuration. Call it with the lock of `views`."""
    engine = _engines.get(config)
    if engine is None:
        engine = _engines[config] = Engine(config)
    return engine


def _after_fork_in_child() -> None:
    """A forked child has its parent's memory but not its threads, so every engine loads again on its next use."""
    # What the parent loaded is kept, unused: freeing it would wait for threads that do not exist here.
    _of_parents.extend(engine.forget_after_fork() for engine in _engines.values())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
