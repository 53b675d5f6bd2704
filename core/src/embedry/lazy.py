"""What lazy models of all kinds share: one instance per configuration, which is a view on a shared engine."""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from itertools import chain, islice
from threading import RLock
from typing import TYPE_CHECKING, Any, Generic, Self
from weakref import WeakValueDictionary

from embedry import engine
from embedry._files import digests, sources
from embedry._pipeline.texts import Item
from embedry.chains import Kind
from embedry.fingerprint import space_fingerprint
from embedry.options import Config
from embedry.prepared import EncodedBlock, Prepared, Result
from embedry.spec import ModelSpec

if TYPE_CHECKING:
    from embedry._pipeline.pipeline import Pipeline
    from embedry._pipeline.requests import Request


_TYPES: "dict[Kind, type[LazyModel[Any, Any]]]" = {}
"""The class of each kind of model, which puts itself here."""


class LazyModel(Generic[Item, Result]):
    """The shared model of one configuration, of any kind. Its entry is known immediately; its engine is loaded on first use.

    Models that differ only in `dims`, `normalize`, `max_seq_length`, overflow policies or prompts share an engine, so the weights
    are in memory once. Safe to use from many threads, from exit handlers and from signal handlers.
    """

    def __init_subclass__(cls, kind: Kind | None = None) -> None:
        super().__init_subclass__()
        if kind is not None:
            _TYPES[kind] = cls

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

    def _each_checked(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items one by one, each checked; anything that is not an iterable of them raises an error immediately."""
        raise NotImplementedError

    def _checked(self, items: Iterable[Item], role: str) -> list[Item]:
        """The items, after they and the role were checked; called before the model is loaded."""
        found = list(self._each_checked(items))
        self.spec.prompt(role)  # OptionError for a role that the model does not have
        return found

    def _encode(self, items: Iterable[Item], role: str, request: "Request", *, progress: bool = False) -> Result:
        found = self._checked(items, role)
        if found and progress:
            from embedry import _progress

            with _progress.bar(len(set(found)), self.config.names[0]) as request.advance:
                return self._computed(found, role, request)
        if found:
            return self._computed(found, role, request)
        from embedry._pipeline.results import results_of

        results = results_of(self.config, role, None)
        nothing: Result = results.collected(results.empty(0), None)
        return nothing

    def _computed(self, items: list[Item], role: str, request: "Request") -> Result:
        """The results of checked items, of which there is at least one."""
        result: Result = self._pipeline(role).encode(items, request)
        return result

    async def _aencode(self, items: Iterable[Item], role: str) -> Result:
        import asyncio

        from embedry._pipeline.requests import Request

        request = Request()
        try:
            return await asyncio.to_thread(self._encode, items, role, request)
        except asyncio.CancelledError:
            request.cancel()
            raise

    def _encode_blocks(self, items: Iterable[Item], role: str) -> Generator[EncodedBlock[Result], None, None]:
        remaining = self._each_checked(items)
        self.spec.prompt(role)
        return self._blocks(remaining, role)

    def _blocks(self, items: Iterator[Item], role: str) -> Generator[EncodedBlock[Result], None, None]:
        first = list(islice(items, 1))
        if first:  # nothing is loaded for no text, or for one that is wrong
            from embedry._pipeline.requests import Request

            yield from self._pipeline(role).stream(chain(first, items), Request())

    def _prepare(self, items: Iterable[Item], role: str) -> Prepared[Result]:
        found = self._checked(items, role)
        from embedry._pipeline.requests import Request

        return self._pipeline(role).prepare(found, Request())

    def _count_tokens(self, items: Iterable[Item], role: str) -> list[int]:
        found = self._checked(items, role)
        return self._pipeline(role).engine.reader.lengths(found, role, self.config) if found else []

    def load(self) -> Self:
        """Loads the model now instead of on first use; returns itself. Of many threads one loads, the others wait.

        Raises:
            FilesError, UnsupportedModelError, BackendError: the model cannot be loaded.
        """
        self._pipeline("unprompted")
        return self

    def unload(self) -> None:
        """Frees the memory of the engine, also for all other models that share it.

        Running calls finish first. The next call loads the engine again.
        """
        self.engine.unload()

    def __enter__(self) -> Self:
        """`with resolve(...) as embedder:` unloads the engine at the end of the block, or of the last open one."""
        self.engine.enter()
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.leave()

    def _pipeline(self, role: str) -> "Pipeline":
        from embedry._pipeline.pipeline import Pipeline  # and numpy, which takes longer inside the import of an engine

        return Pipeline(self.engine.load(), self.config, role)

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory."""
        return self.engine.loaded is not None

    @property
    def computed_tokens(self) -> tuple[int, int]:
        """Tokens that the engine has computed since it was loaded, for all models that share it: without and with the padding
        of batches. (0, 0) if it is not loaded.
        """
        loaded = self.engine.loaded
        return (loaded.scheduler.tokens, loaded.scheduler.padded_tokens) if loaded is not None else (0, 0)

    @property
    def fingerprint(self) -> str:
        """24 hex digits that identify the vector space. Vector stores keep it and compare it.

        It is computed from the entry alone if the entry has all digests; otherwise the files are read.
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
        """How results are computed, for display: backend, device, how many models share the engine and, once it is loaded,
        what the backend reports, such as the memory of its weights.
        """
        sharing = sum(each.engine is self.engine for each in tuple(_views.values()))
        return {**self.engine.info, "embedders": str(max(1, sharing))}

    def __reduce__(self) -> "tuple[Callable[[Config], LazyModel[Any, Any]], tuple[Config]]":
        return shared, (self.config,)

    def __repr__(self) -> str:
        state = "loaded" if self.loaded else "not loaded"
        return f"<embedry {self.name!r} dims={self.dims} backend={self.config.backend!r} {state}>"


_views: "WeakValueDictionary[Config, LazyModel[Any, Any]]" = WeakValueDictionary()
_lock = RLock()  # a signal handler may resolve while its own thread does


def shared(config: Config) -> LazyModel[Any, Any]:
    """The one model of a configuration; made if there is none."""
    with _lock:
        view = _views.get(config)
        if view is None:
            view = _views[config] = _TYPES[config.spec.kind](config, engine.shared(config.engine))
        return view


def _after_fork_in_child() -> None:
    global _lock
    _lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
