"""Reading ahead in another thread."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def ahead(source: Iterator[Item], count: int) -> Generator[Item, None, None]:
    """The items of an iterator, read ahead in a separate thread."""

    def following() -> list[Item]:  # a future cannot hold StopIteration
        return list(islice(source, 1))

    pool = ThreadPoolExecutor(1, thread_name_prefix="embedry-bulk-reader")
    try:
        waiting = deque(pool.submit(following) for _ in range(count))
        while items := waiting.popleft().result():
            waiting.append(pool.submit(following))
            yield from items
    finally:
        pool.shutdown(cancel_futures=True)
