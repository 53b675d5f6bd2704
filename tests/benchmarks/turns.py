"""Alternating measurements: contenders alternate within a round, so that other load affects all of them equally."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from contenders import Contender

REST = 0.1
"""Seconds before a turn, in which the threads of the one before stop spinning for more work."""
AT_LEAST = 1.0
"""Seconds of a turn: faster work is repeated, because a short time cannot be measured accurately."""
BLOCK = 10
"""Queries in a row for one contender: enough to warm its caches, few enough to alternate often."""
THREADS = 8
"""Concurrent callers."""

REPEATS = 5
"""Small calls while a large one is computed."""
UNDER_WAY = 1.0
"""Seconds after which a large call is surely being computed."""

Measure = TypeVar("Measure")


@dataclass(frozen=True)
class Crowd:
    """A measurement of concurrent throughput."""

    seconds: float
    latencies: list[float]
    """Seconds of each query that was answered."""
    errors: list[str]


@dataclass(frozen=True)
class Beside:
    """Median seconds of a small call alone, and while another thread's large call is computed."""

    alone: float
    beside: float


def alternate(what: str, turns: Mapping[str, Callable[[int], Measure]], rounds: int) -> dict[str, list[Measure]]:
    """The result of each turn in each round. A turn takes the round's number; each round begins with another turn."""
    measured: dict[str, list[Measure]] = {name: [] for name in turns}
    names = list(turns)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            show(f"{what}: round {number + 1} of {rounds}, {name}")
            time.sleep(REST)
            measured[name].append(turns[name](number))
    show("")
    return measured


def show(progress: str) -> None:
    """Replaces the line of progress on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{progress}", end="", file=sys.stderr, flush=True)


def seconds_of(contender: Contender, texts: list[str]) -> float:
    """Embeds all the texts in one call, and again until it has lasted long enough; seconds of one call."""
    calls, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < AT_LEAST:
        contender.encode_documents(texts)
        calls += 1
    return passed / calls


def latencies_of(contender: Contender, queries: list[str]) -> list[float]:
    """Seconds of each query, one after the other."""
    return [_seconds(contender, query) for query in queries]


def crowd_of(contender: Contender, queries: list[str]) -> Crowd:
    """Many concurrent threads, each with the next query as soon as its last is done."""

    def run(query: str) -> float | str:
        try:
            return _seconds(contender, query)
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    with ThreadPoolExecutor(THREADS) as threads:
        start = time.perf_counter()
        answers = list(threads.map(run, queries))
        passed = time.perf_counter() - start
    return Crowd(
        passed,
        [answer for answer in answers if isinstance(answer, float)],
        [answer for answer in answers if isinstance(answer, str)],
    )


def beside_of(contender: Contender, small: list[str], large: list[str]) -> Beside:
    """A small call alone, and then beside a large one.

    Raises:
        RuntimeError: the large one was ready before the last small one.
    """

    def call() -> float:
        start = time.perf_counter()
        contender.encode_documents(small)
        return time.perf_counter() - start

    alone = statistics.median(call() for _ in range(REPEATS))
    with ThreadPoolExecutor(1) as threads:
        under_way = threads.submit(contender.encode_documents, large)
        time.sleep(UNDER_WAY)
        beside = statistics.median(call() for _ in range(REPEATS))
        if under_way.done():
            raise RuntimeError(f"the call of {len(large)} texts was too short for this machine")
    return Beside(alone, beside)


def _seconds(contender: Contender, query: str) -> float:
    start = time.perf_counter()
    contender.encode_query(query)
    return time.perf_counter() - start
