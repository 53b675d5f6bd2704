"""What `resolve` returns: a lazy embedder, one for each configuration, shared by the whole process."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from threading import Lock
from typing import TYPE_CHECKING, Self

from embedry import _backends
from embedry._files import digests, sources
from embedry._pipeline.texts import checked, each_checked
from embedry.backend import LoadRequest
from embedry.embedder import BaseEmbedder
from embedry.fingerprint import space_fingerprint
from embedry.options import Config
from embedry.spec import ModelSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedry._pipeline.pipeline import Pipeline


class LazyEmbedder(BaseEmbedder):
    """The shared embedder of one configuration. Knows its entry at once; loads weights once, on first use.

    A load that fails leaves nothing behind and is tried again by the next call.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.name = config.spec.name
        self.dims = config.dims
        self.max_seq_length = config.max_seq_length
        self._pipeline: Pipeline | None = None
        self._lock = Lock()

    @property
    def spec(self) -> ModelSpec:
        """The registry entry."""
        return self.config.spec

    def encode(self, texts: Iterable[str], *, role: str) -> "NDArray[np.float32]":
        """See `Embedder.encode`. Everything that can be wrong with the call is found before the model is loaded."""
        found = checked(texts)
        prompt = self.spec.prompt(role)
        if not found:
            import numpy as np

            return np.empty((0, self.dims), dtype=np.float32)
        return self.pipeline.encode(found, prompt)

    def encode_stream(self, texts: Iterable[str], *, role: str) -> "Iterator[NDArray[np.float32]]":
        """See `Embedder.encode_stream`. The role and the kind of `texts` are checked at once, each text when it comes."""
        remaining = each_checked(texts)
        prompt = self.spec.prompt(role)
        return self._stream(remaining, prompt)

    def _stream(self, texts: Iterator[str], prompt: str) -> "Iterator[NDArray[np.float32]]":
        first = list(islice(texts, 1))
        if first:  # nothing is loaded for no text, or for one that is wrong
            yield from self.pipeline.stream(chain(first, texts), prompt)

    def load(self) -> Self:
        """Loads the model now instead of on first use; returns the embedder. Of many threads one loads, the others wait.

        Raises:
            FilesError, UnsupportedModelError, BackendError: the model cannot be loaded.
        """
        self.pipeline  # noqa: B018  loads
        return self

    @property
    def pipeline(self) -> "Pipeline":
        """The loaded engine and the way to it; private, and loaded by asking for it."""
        pipeline = self._pipeline
        if pipeline is None:
            with self._lock:
                pipeline = self._pipeline
                if pipeline is None:
                    pipeline = self._pipeline = self._load()
        return pipeline

    def _load(self) -> "Pipeline":
        from embedry._files import consistency
        from embedry._pipeline.pipeline import Pipeline

        config = self.config
        folder = sources.ensure_local(config.spec, config.cache_dir)
        model = consistency.check(config.spec, folder, max_seq_length=config.max_seq_length, cache_dir=config.cache_dir)
        request = LoadRequest(
            spec=config.spec,
            folder=folder,
            config=model,
            device=config.device,
            precision=config.precision,
            threads=config.threads,
            cache_dir=config.cache_dir,
        )
        encoder = _backends.find(config.backend).load(request)
        return Pipeline(config, folder, encoder, pad_id=model.pad_token_id if model is not None else 0)

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory."""
        return self._pipeline is not None

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
        """What computes the vectors, for people: backend, device and, once loaded, what the backend reports."""
        config = self.config
        basics = {"backend": config.backend, "device": config.device, "threads": str(config.threads)}
        return basics | dict(self._pipeline.encoder.info) if self._pipeline is not None else basics

    def forget_after_fork(self) -> "Pipeline | None":
        """In a forked child: starts again, without the parent's locks and threads. Returns what must be kept alive."""
        pipeline, self._pipeline, self._lock = self._pipeline, None, Lock()
        return pipeline

    def __reduce__(self) -> "tuple[Callable[[Config], LazyEmbedder], tuple[Config]]":
        return shared, (self.config,)

    def __repr__(self) -> str:
        state = "loaded" if self.loaded else "not loaded"
        return f"<embedry {self.name!r} dims={self.dims} backend={self.config.backend!r} {state}>"


_embedders: dict[Config, LazyEmbedder] = {}
_lock = Lock()


def shared(config: Config) -> LazyEmbedder:
    """The one embedder of a configuration; made if there is none yet."""
    with _lock:
        embedder = _embedders.get(config)
        if embedder is None:
            embedder = _embedders[config] = LazyEmbedder(config)
        return embedder


_parents: "list[Pipeline | None]" = []


def _after_fork_in_child() -> None:
    """A forked child has its parent's memory but none of its threads: every embedder loads again on its next use."""
    global _lock
    _lock = Lock()
    # What the parent loaded is kept, unused: taking it down would wait for threads that do not exist here.
    _parents.extend(embedder.forget_after_fork() for embedder in _embedders.values())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
