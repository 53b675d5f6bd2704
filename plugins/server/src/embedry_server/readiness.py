"""Readiness of a server, checked by encoding a text."""

import asyncio
from time import monotonic

from embedry import EmbedryError
from embedry_server.errors import ApiError
from embedry_server.models import Models, ServedModel
from embedry_server.queue import Queue

_TRUSTED_SECONDS = 10.0
"""How long a computation proves that the next one will work."""

_PROBE_SECONDS = 5.0


class Readiness:
    """Loading, ready, failing or draining."""

    def __init__(self, models: Models, queue: Queue, deadline: float) -> None:
        self.is_draining = False
        self._models = models
        self._queue = queue
        self._deadline = deadline
        self._proven: dict[str, float] = {}
        self._probes: dict[str, asyncio.Task[None]] = {}

    def check_open(self) -> None:
        """Raises ApiError, status 503, while the models are being loaded."""
        for model in self._models:
            if model.name not in self._proven:
                raise ApiError(
                    503,
                    f"{model.name!r} is being loaded; try again in 1 s",
                    code="loading",
                    headers={"retry-after": "1"},
                )

    def load(self) -> None:
        """Loads all models in turn and encodes a text with each; may be called from any thread.

        Raises:
            EmbedryError: a model cannot be loaded.
        """
        for model in self._models:
            model.load()
            self._compute(model)

    async def reason(self) -> str | None:
        """Why the server is not ready; None if it is ready."""
        if self.is_draining:
            return "the server is stopping"
        if self._queue.oldest_seconds > self._deadline:
            return f"a request has been waiting for {self._queue.oldest_seconds:.0f} s"
        for model in self._models:
            reason = await self.reason_of(model)
            if reason is not None:
                return reason
        return None

    async def reason_of(self, model: ServedModel) -> str | None:
        """Why one model is not ready; None if it is ready."""
        if model.name not in self._proven:
            return f"{model.name!r} is being loaded"
        if monotonic() - self._proven[model.name] < _TRUSTED_SECONDS:
            return None
        probe = self._probes.get(model.name)
        if probe is None:  # of simultaneous checks only one computes
            probe = self._probes[model.name] = asyncio.create_task(asyncio.to_thread(self._compute, model))
            probe.add_done_callback(lambda _: self._probes.pop(model.name, None))
        try:
            await asyncio.shield(probe)
        except EmbedryError as error:
            return f"{model.name!r} cannot compute: {error}"
        return None

    def _compute(self, model: ServedModel) -> None:
        model.probe(_PROBE_SECONDS)
        self.proven(model)

    def proven(self, model: ServedModel) -> None:
        """Records that the model has just computed a result."""
        self._proven[model.name] = monotonic()
