"""Engines that stand in for a real one on the real pipeline, and note what they are asked."""

from dataclasses import replace
from threading import Event, Semaphore
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedry.backend import Encoder, TextEncoder
from embedry.engine import Engine, assembled
from embedry.views import LazyEmbedder
from waiting import PATIENCE


class Recorder(Encoder):
    """Notes the shape of every batch. A text's vector is a sum of whole numbers over its tokens, so it is exact."""

    workers = 1
    batch_tokens = 512
    info: dict[str, str] = {}  # noqa: RUF012  the protocol's
    table = np.random.default_rng(0).integers(-9, 10, (997, 384)).astype(np.float32)

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        self.shapes.append(ids.shape)
        pooled: NDArray[np.float32] = np.einsum("bsd,bs->bd", self.table[ids % 997], mask.astype(np.float32))
        return pooled


class Held(Recorder):
    """Holds every batch until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = Event()
        """A batch is held."""
        self.go_on = Event()

    def forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        pooled = super().forward(ids, mask)
        self.entered.set()
        assert self.go_on.wait(PATIENCE)
        return pooled


class Gated(Recorder):
    """Computes as many batches as it is allowed to, and then waits."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = Event()
        """A batch has come."""
        self.allowed = Semaphore(0)

    def forward(self, ids: NDArray[np.int32], mask: NDArray[np.int32]) -> NDArray[np.float32]:
        pooled = super().forward(ids, mask)
        self.entered.set()
        assert self.allowed.acquire(timeout=PATIENCE)
        return pooled

    def allow(self, batches: int) -> None:
        """Lets so many batches go on."""
        for _ in range(batches):
            self.allowed.release()


def over(encoder: Encoder | TextEncoder, embedder: LazyEmbedder, **changes: Any) -> LazyEmbedder:
    """The embedder with another engine, and with these fields of its configuration changed."""
    config = replace(embedder.config, **changes)
    loaded = embedder.engine.load()
    return LazyEmbedder(config, Engine(config.engine, assembled(config.engine, loaded.folder, loaded.model, encoder)))
