"""How fast a loaded model is: measurements of a second or two each, short enough for a command, and rough."""

import copy
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import takewhile

from embedry import TextEncoder
from embedry._files import sources
from embedry._pipeline.pipeline import Pipeline
from embedry._pipeline.tokenizer import Tokenizer
from embedry.views import LazyEmbedder

ROUNDS = 3
"""The median of so many is taken, so that one interruption by another program does no harm."""

_ENOUGH = 0.5
"""Seconds: what takes less is too short to be timed."""

_FEWEST = 16

_WARM_UP = 5
"""Questions that are asked before the clock starts."""

_QUESTION_SECONDS = 2.0


def seconds(work: Callable[[], object]) -> float:
    """How long the work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def latencies(embedder: LazyEmbedder, questions: Sequence[str]) -> list[float]:
    """Seconds of each question, asked one after the other, as many as there is time for."""
    for question in questions[:_WARM_UP]:
        embedder.embed_query(question)
    end = time.perf_counter() + _QUESTION_SECONDS
    in_time = takewhile(lambda _: time.perf_counter() < end, questions)
    return [seconds(partial(embedder.embed_query, question)) for question in in_time]


def crowd(embedder: LazyEmbedder, questions: Sequence[str], threads: int) -> float:
    """Seconds of all the questions, asked by several threads at once."""
    with ThreadPoolExecutor(threads) as callers:
        return seconds(lambda: list(callers.map(embedder.embed_query, questions)))


def enough(embedder: LazyEmbedder, texts: Sequence[str]) -> Sequence[str]:
    """As many of the texts as it takes to be timed; all of them, if they are too few. The first calls warm up."""
    count = _FEWEST
    while seconds(partial(embedder.encode_document, texts[:count])) < _ENOUGH and count < len(texts):
        count *= 2
    return texts[:count]


def documents(embedder: LazyEmbedder, texts: Sequence[str]) -> float:
    """Seconds of one call with all the texts."""
    return statistics.median(seconds(partial(embedder.encode_document, texts)) for _ in range(ROUNDS))


def tokens(embedder: LazyEmbedder, texts: Sequence[str]) -> int | None:
    """Tokens that the model reads of the texts, special ones included; None where no tokenizer.json tells."""
    file = sources.ensure_local(embedder.spec, embedder.config.cache_dir) / "tokenizer.json"
    if not file.exists():
        return None
    prompt = embedder.spec.prompt("document")
    rows, _ = Tokenizer(file, embedder.max_seq_length).ids([prompt + text for text in texts])
    return sum(map(len, rows))


def budgets(embedder: LazyEmbedder, texts: Sequence[str]) -> dict[int, float]:
    """Seconds of the texts with the engine's token budget for a batch, and with half and twice as much.

    The budgets take turns, so that whatever else the machine does falls on all alike. Nothing for an engine that reads
    texts itself, and so makes its own batches.
    """
    engine = embedder.load().encoder
    if isinstance(engine, TextEncoder):
        return {}
    folder = sources.ensure_local(embedder.spec, embedder.config.cache_dir)
    prompt = embedder.spec.prompt("document")
    pipelines: dict[int, Pipeline] = {}
    for budget in (engine.batch_tokens // 2, engine.batch_tokens, engine.batch_tokens * 2):
        other = copy.copy(engine)  # the same weights and threads
        other.batch_tokens = budget
        pipelines[budget] = Pipeline(embedder.config, folder, other)
        pipelines[budget].encode(texts[:_FEWEST], prompt)  # its workers start
    rounds = [
        {budget: seconds(partial(pipeline.encode, texts, prompt)) for budget, pipeline in pipelines.items()}
        for _ in range(ROUNDS)
    ]
    return {budget: statistics.median(measured[budget] for measured in rounds) for budget in pipelines}


def peak_memory_mb() -> float | None:
    """The most memory that this process has held so far, in millions of bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (peak if sys.platform == "darwin" else peak * 1024) / 1e6  # getrusage(2) of macOS counts bytes, others KiB
