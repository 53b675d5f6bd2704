"""A contender in its own process. Libraries in one process slow each other down: their threads are counted together."""

import signal
import sys
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, TypeVar, TypeVarTuple

from contenders import Contender

Arguments = TypeVarTuple("Arguments")
Found = TypeVar("Found")


class Apart:
    """The process of a contender. It measures itself, so the pipe is not part of the measured time."""

    def __init__(self, name: str, load: Callable[[], Contender]) -> None:
        spawned = get_context("spawn")
        self._name = name
        self._pipe, theirs = spawned.Pipe()
        self._process = spawned.Process(target=_serve, args=(load, theirs), daemon=True)
        self._process.start()
        theirs.close()  # so that we get EOF when the process ends

    def wait_until_loaded(self) -> None:
        """Raises what loading raised."""
        self._receive()

    def __call__(self, work: Callable[[Contender, *Arguments], Found], *arguments: *Arguments) -> Found:
        """What `work`, a function of a module, returns for the contender there."""
        self._pipe.send((work, arguments))
        found: Found = self._receive()
        return found

    def _receive(self) -> Any:
        try:
            answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            sys.exit(f"the process of {self._name} ended with exit code {self._process.exitcode}")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def __enter__(self) -> "Apart":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pipe.close()  # which ends its loop
        if kind is not None:
            self._process.terminate()
        self._process.join()


def _serve(load: Callable[[], Contender], pipe: Connection) -> None:
    """Loads the contender, reports it, and works until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent process
    try:
        contender = load()
    except Exception as error:
        pipe.send(error)
        return
    pipe.send(None)
    while True:
        try:
            work, arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send(work(contender, *arguments))
        except Exception as error:
            pipe.send(error)
