"""Calls in threads of their own, and waiting for what they do; a test that hangs fails instead."""

import time
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import Any

PATIENCE = 30
"""Seconds after which what is waited for has hung."""


def asked(question: Callable[[], Any]) -> Future[Any]:
    """What a question gets that is asked in a thread of its own; one that hangs keeps nothing from ending."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(question())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


def until(condition: Callable[[], bool]) -> None:
    """Returns when the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)
