"""Measures roughly how fast a loaded model is, in a second or two per measurement."""

import copy
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import takewhile
from typing import Any

from embedry.backend import TextEncoder
from embedry.engine import Engine, assembled
from embedry.views import LazyTextModel

ROUNDS = 3
"""Number of rounds. The median is reported, so that an interruption by another program does not matter."""

_ENOUGH = 0.5
"""Minimum duration, in seconds, for an accurate measurement."""

_FEWEST = 16

_WARM_UP = 5
"""Queries before the measurement starts."""

_QUERY_SECONDS = 2.0


def seconds(work: Callable[[], object]) -> float:
    """The duration of the work in seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def latencies(embedder: LazyTextModel[Any], queries: Sequence[str]) -> list[float]:
    """The latency of single queries in seconds, for as many queries as the time permits."""
    for query in queries[:_WARM_UP]:
        embedder.encode_query([query])
    end = time.perf_counter() + _QUERY_SECONDS
    in_time = takewhile(lambda _: time.perf_counter() < end, queries)
    return [seconds(partial(embedder.encode_query, [query])) for query in in_time]


def crowd(embedder: LazyTextModel[Any], queries: Sequence[str], threads: int) -> float:
    """The total time of all queries in seconds, from several concurrent threads."""
    with ThreadPoolExecutor(threads) as callers:
        return seconds(lambda: list(callers.map(lambda query: embedder.encode_query([query]), queries)))


def enough(embedder: LazyTextModel[Any], texts: Sequence[str]) -> Sequence[str]:
    """Enough texts for an accurate measurement, or all if there are too few. The first calls warm up."""
    count = _FEWEST
    while seconds(partial(embedder.encode_document, texts[:count])) < _ENOUGH and count < len(texts):
        count *= 2
    return texts[:count]


def documents(embedder: LazyTextModel[Any], texts: Sequence[str]) -> float:
    """The time of one call with all texts, in seconds."""
    return statistics.median(seconds(partial(embedder.encode_document, texts)) for _ in range(ROUNDS))


def tokens(embedder: LazyTextModel[Any], texts: Sequence[str]) -> int | None:
    """The number of tokens of the texts, including special tokens; None if only the engine knows it."""
    counted = embedder.prepare(texts, role="document").tokens
    return sum(counted) if counted is not None else None


def budgets(embedder: LazyTextModel[Any], texts: Sequence[str]) -> dict[int, float]:
    """The times, in seconds, with the engine's token budget for a batch, and with half and twice as much.

    The budgets alternate, so that other load on the machine affects all of them equally. Empty for an engine that
    tokenizes texts itself, because it creates its own batches.
    """
    loaded = embedder.engine.load()
    if isinstance(loaded.encoder, TextEncoder):
        return {}
    own = loaded.encoder.batch_tokens
    candidates: dict[int, LazyTextModel[Any]] = {}
    for budget in (own // 2, own, own * 2):
        other = copy.copy(loaded.encoder)  # the same weights and threads
        other.batch_tokens = budget
        config = embedder.engine.config
        engine = Engine(config, assembled(config, loaded.folder, loaded.model, other))
        candidates[budget] = type(embedder)(embedder.config, engine)
        candidates[budget].encode_document(texts[:_FEWEST])  # warms up
    rounds = [
        {budget: seconds(partial(each.encode_document, texts)) for budget, each in candidates.items()}
        for _ in range(ROUNDS)
    ]
    return {budget: statistics.median(measured[budget] for measured in rounds) for budget in candidates}


def peak_memory_mb() -> float | None:
    """The peak memory of this process so far, in MB; None if the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (peak if sys.platform == "darwin" else peak * 1024) / 1e6  # getrusage(2) of macOS counts bytes, others KiB
