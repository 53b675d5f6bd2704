"""Thread counts of multithreaded libraries, per process and per call."""

import os
import weakref
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread, local
from typing import Any, TypeVar, cast

T = TypeVar("T")

_Job = tuple[Callable[[], Any], SimpleQueue[tuple[Any, BaseException | None]]]

PROCESS_SETTING = Lock()
"""Held by a backend while it changes for a moment what is set for the whole process, such as torch's number of threads:
workers of several embedders and backends start at the same time."""

if hasattr(os, "register_at_fork"):  # a child must not inherit the lock from a thread that it does not have
    os.register_at_fork(
        before=PROCESS_SETTING.acquire, after_in_parent=PROCESS_SETTING.release, after_in_child=PROCESS_SETTING.release
    )


class LibraryThreads:
    """Calls of a library that has a number of threads for each thread that calls it, as torch has on a CPU.

    Such a library keeps threads and memory for each thread that ever made it compute with several. So all wide calls are made
    by one thread, which ends when nothing refers to this object any more. The application's own setting stays as it is.

    Args:
        count: threads that a wide call computes with; None where no number is to be set, as on a GPU.
        get_count: gives the number of the calling thread, such as `torch.get_num_threads`.
        set_count: sets it, and with it the number that later threads start with, such as `torch.set_num_threads`.
    """

    def __init__(self, count: int | None, *, get_count: Callable[[], int], set_count: Callable[[int], object]) -> None:
        self._count = count
        self._get_count = get_count
        self._set_count = set_count
        self._callers = local()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        Thread(target=_serve, args=(self._jobs,), name="embedry-wide", daemon=True).start()
        weakref.finalize(self, self._jobs.put, None).atexit = False
        if count is not None:
            self.wide(partial(self._use, count))

    def narrow(self, work: Callable[[], T]) -> T:
        """What `work` returns, computed by the calling thread alone."""
        if self._count is not None and not hasattr(self._callers, "is_narrow"):
            self._use(1)
            self._callers.is_narrow = True
        return work()

    def wide(self, work: Callable[[], T]) -> T:
        """What `work` returns, or raises, computed by `count` threads."""
        answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        self._jobs.put((work, answers))
        result, error = answers.get()
        if error is not None:
            raise error
        return cast("T", result)

    def _use(self, count: int) -> None:
        with PROCESS_SETTING:
            before = self._get_count()
            self._set_count(count)
            # The call above also set the number that later threads start with; a thread that does nothing else sets that one
            # back, which leaves this thread's alone.
            restore = Thread(target=self._set_count, args=(before,))
            restore.start()
            restore.join()


def _serve(jobs: "SimpleQueue[_Job | None]") -> None:
    while job := jobs.get():
        work, answers = job
        try:
            answers.put((work(), None))
        except BaseException as error:
            answers.put((None, error))
        del job, work, answers  # nothing is held while there is nothing to do
