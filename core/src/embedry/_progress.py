"""A progress bar for calls of many texts, in a terminal or a notebook."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock


@contextmanager
def bar(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """Shows how many are done, the rate and the time left, on stderr if it is a terminal, or in a notebook.

    Yields a function that takes how many more are done, and may be called by any thread.
    """
    from tqdm.auto import tqdm  # it finds out whether this is a notebook

    lock = Lock()
    with tqdm(total=total, unit=f" {what}", disable=None, dynamic_ncols=True) as shown:

        def advance(count: int) -> None:
            with lock:
                shown.update(count)

        yield advance
