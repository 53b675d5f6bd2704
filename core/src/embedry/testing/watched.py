"""An engine that records its batches and holds them until it is released."""

import time
from collections.abc import Callable
from threading import Event, Lock, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedry.backend import Encoder, PairEncoder
from embedry.engine import Engine, assembled
from embedry.testing.subject import NotApplicable, Subject, Violation

Ints = NDArray[np.int32]

_PATIENCE = 120.0
"""Seconds after which a wait counts as hung."""


_BATCH_TOKENS = 256
"""Small, so that a few hundred texts are many batches on every device."""


_MOST_WORKERS = 2
"""Few, so that a few hundred texts keep all workers busy on every machine."""


class WatchedEncoder(Encoder, PairEncoder):
    """The real encoder behind a gate, with small batches. `batches` has the arrays of each batch received, in order."""

    def __init__(self, real: Encoder | PairEncoder) -> None:
        self._real: Any = real
        self.workers, self.info = min(real.workers, _MOST_WORKERS), real.info
        self.batch_tokens = min(real.batch_tokens, _BATCH_TOKENS)
        self.batches: list[tuple[Ints, ...]] = []
        self.go_on = Event()
        self._lock = Lock()

    def forward(self, ids: Ints, mask: Ints, *segments: Ints) -> NDArray[np.float32]:
        """Calls the real method once released."""
        return self._passed("forward", ids, mask, *segments)

    def forward_wide(self, ids: Ints, mask: Ints, *segments: Ints) -> NDArray[np.float32]:
        """Calls the real method once released."""
        return self._passed("forward_wide", ids, mask, *segments)

    def _passed(self, method: str, *batch: Ints) -> NDArray[np.float32]:
        with self._lock:
            self.batches.append(batch)
        if not self.go_on.wait(_PATIENCE):
            raise TimeoutError("the engine was not released")
        result: NDArray[np.float32] = getattr(self._real, method)(*batch)
        return result


def watched(subject: Subject) -> tuple[Any, WatchedEncoder]:
    """The subject's model on a watched engine; the weights are shared with the subject.

    Raises:
        NotApplicable: its engine takes texts instead of token ids.
    """
    loaded, config = subject.embedder.engine.load(), subject.embedder.config
    if not isinstance(loaded.encoder, Encoder | PairEncoder):
        raise NotApplicable("the engine tokenizes texts itself")
    encoder = WatchedEncoder(loaded.encoder)
    engine = Engine(config.engine, assembled(config.engine, loaded.folder, loaded.model, encoder))
    return type(subject.embedder)(config, engine), encoder


class Started:
    """A call in a separate thread."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._work()
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        """Returns its result, or raises its error."""
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            raise Violation("a call does not return")
        if self._error is not None:
            raise self._error
        return self._result


def wait_until(condition: Callable[[], bool], expected: str) -> None:
    """Waits until the condition holds; raises `Violation` if it does not."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise Violation(expected)
        time.sleep(0.001)
