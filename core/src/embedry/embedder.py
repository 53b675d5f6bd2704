"""The embedder: what every application holds.

`Embedder` is the protocol. One method does the work, `encode`; the rest are spellings of it that an ecosystem already
knows, and whoever subclasses the protocol inherits them. `LazyEmbedder` is what `resolve` returns.
"""

from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

from embedry import backends, integrity, weights
from embedry.config import Config
from embedry.fingerprint import space_fingerprint
from embedry.spec import ModelSpec
from embedry.texts import checked

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from embedry.road import Road


@runtime_checkable
class Embedder(Protocol):
    """Turns texts into vectors. Safe to call from many threads."""

    name: str
    """The model's name in the registry."""
    dims: int
    """Length of every vector."""
    max_seq_length: int
    """Tokens read of each text, special tokens included."""

    def encode(self, texts: Iterable[str], *, role: str) -> "NDArray[np.float32]":
        """Vectors of the texts, float32 (number of texts, dims), in their order; (0, dims) for none.

        Args:
            texts: any iterable of `str`, but not one `str`. An empty string is a text.
            role: "query" for what is asked, "document" for what is searched, or a task that the model's entry names.
                It decides the prompt, and for many models a wrong one costs much of the quality.

        Raises:
            TextTypeError: a text is not a `str`.
            TextError: a text is not valid Unicode, or too long under on_overflow="error".
            OptionError: the model has no such role.
            WeightsNotFoundError, IntegrityError: on first use, if the files are missing or wrong.
        """
        ...

    def encode_query(self, texts: Iterable[str]) -> "NDArray[np.float32]":
        """`encode` with role "query", under the name that sentence-transformers gave it."""
        return self.encode(texts, role="query")

    def encode_document(self, texts: Iterable[str]) -> "NDArray[np.float32]":
        """`encode` with role "document", under the name that sentence-transformers gave it."""
        return self.encode(texts, role="document")

    def embed_query(self, text: str) -> list[float]:
        """The vector of one query as plain floats, as LangChain calls it."""
        return cast("list[float]", self.encode([text], role="query")[0].tolist())

    def embed_documents(self, texts: Iterable[str]) -> list[list[float]]:
        """The vectors of documents as plain floats, as LangChain calls it."""
        return cast("list[list[float]]", self.encode(texts, role="document").tolist())

    async def aembed_query(self, text: str) -> list[float]:
        """`embed_query` without blocking the event loop."""
        import asyncio  # a third of the import time of this package, for those who never await

        return await asyncio.to_thread(self.embed_query, text)

    async def aembed_documents(self, texts: Iterable[str]) -> list[list[float]]:
        """`embed_documents` without blocking the event loop."""
        import asyncio

        return await asyncio.to_thread(self.embed_documents, texts)


class LazyEmbedder(Embedder):
    """The shared embedder of one configuration. Knows its entry at once; loads weights once, on first use.

    A load that fails leaves nothing behind and is tried again by the next call.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.name = config.spec.name
        self.dims = config.dims
        self.max_seq_length = config.max_seq_length
        self._road: Road | None = None
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
        return self.load().encode(found, prompt)

    def load(self) -> "Road":
        """Loads the model now instead of on first use. Many threads may come at once: one loads, the others wait.

        Raises:
            WeightsNotFoundError, IntegrityError, UnsupportedModelError: the model cannot be loaded.
        """
        road = self._road
        if road is None:
            with self._lock:
                road = self._road
                if road is None:
                    road = self._road = self._load()
        return road

    def _load(self) -> "Road":
        from embedry.road import Road

        config = self.config
        folder = weights.obtain(config.spec, config.cache_dir)
        encoder = backends.find(config.backend).load(
            config.spec, folder, device=config.device, threads=config.threads, cache_dir=config.cache_dir
        )
        return Road(config, folder, encoder)

    @property
    def loaded(self) -> bool:
        """Whether the weights are in memory."""
        return self._road is not None

    @property
    def fingerprint(self) -> str:
        """24 hex digits that name the vector space; whatever stores vectors stores this and compares it.

        Known from the entry alone where the entry has digests; else the files are found and read.
        """
        spec, config = self.spec, self.config
        digests = {file: digest for file, digest in spec.files.items() if digest is not None}
        if len(digests) < len(spec.files):
            folder = weights.obtain(spec, config.cache_dir)
            digests = {file: integrity.remembered_sha256(folder / file, config.cache_dir) for file in spec.files}
        return space_fingerprint(
            spec, digests, dims=config.dims, max_seq_length=config.max_seq_length, normalize=config.normalize
        )

    @property
    def info(self) -> Mapping[str, str]:
        """What computes the vectors, for people: backend, device and, once loaded, what the backend tells of itself."""
        config = self.config
        basics = {"backend": config.backend, "device": config.device, "threads": str(config.threads)}
        return basics | dict(self._road.encoder.info) if self._road is not None else basics

    def forget_after_fork(self) -> "Road | None":
        """In a forked child: starts anew, without the parent's locks and threads. Returns what must be kept alive."""
        road, self._road, self._lock = self._road, None, Lock()
        return road

    def __reduce__(self) -> "tuple[Callable[[Config], LazyEmbedder], tuple[Config]]":
        from embedry.resolver import shared

        return shared, (self.config,)

    def __repr__(self) -> str:
        state = "loaded" if self.loaded else "not loaded"
        return f"<embedry {self.name!r} dims={self.dims} backend={self.config.backend!r} {state}>"
