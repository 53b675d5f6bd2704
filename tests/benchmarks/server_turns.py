"""What is measured of a server: its answers to a load, and to a lone question beside large requests."""

import asyncio
import os
import random
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle

import http_load
import numpy as np
from contenders import MODEL, Contender, Embedry
from http_load import Answer, Caller, is_right
from numpy.typing import NDArray
from servers import SERVERS, Server, resident_mb
from turns import UNDER_WAY

from embedry.backend import Encoder

PAUSE = 0.05
"""Seconds at most before a lone question, at random: it may come at any time of a batch."""

LENGTH = 128
"""Tokens of a text in the batch that is timed alone."""


@dataclass(frozen=True)
class Work:
    """A load: a request for each group of texts, from so many connections or threads."""

    groups: list[list[str]]
    callers: int
    expected: list[NDArray[np.float32]]
    """The vectors of each group, of `encode`."""

    def requests(self, path: str) -> list[bytes]:
        """The requests; a single text is sent as it is."""
        return [http_load.request(path, MODEL, group[0] if len(group) == 1 else group) for group in self.groups]


@dataclass(frozen=True)
class Window:
    """The part of a load that is measured, in seconds from its beginning. What comes before is the warm-up."""

    begin: float
    end: float


@dataclass(frozen=True)
class Turn:
    """One measurement."""

    rate: float
    """Answers a second. A request that is partly within the window counts in part."""
    seconds: list[float]
    """Of each request that was answered within the window."""
    asked: int
    wrong: int
    """Of all that were asked: other vectors, another status than 200, or no answer."""
    memory: float
    """Resident MB after it."""


@dataclass(frozen=True)
class Beside:
    """Seconds of lone questions, one after the other, without and with another client's large requests."""

    alone: list[float]
    beside: list[float]
    large: int
    """Large requests that were answered meanwhile."""
    wrong: int
    batch: float
    """Seconds that a full batch takes on one worker, while all are busy."""


def asked(server: Server, work: Work, window: Window, _: int) -> Turn:
    """A load on a server, which sleeps before and after."""
    server.resume()
    start = time.perf_counter()
    requests = work.requests(server.path)
    answers = asyncio.run(http_load.closed_loops(server.port, requests, work.callers, window.end))
    memory = server.memory()
    server.pause()
    times = [(answer.sent - start, answer.received - start) for answer in answers if answer.status == 200]
    return _turn(times, window, len(answers), count_wrong(answers, work.expected, server.name), memory)


def encoded(contender: Contender, work: Work, window: Window) -> Turn:
    """The same texts by calls of `encode` in this process, from as many threads."""
    groups = cycle(work.groups)
    times: list[tuple[float, float]] = []
    start = time.perf_counter()

    def run() -> None:
        while (begun := time.perf_counter()) < start + window.end:
            contender.encode_documents(next(groups))
            times.append((begun - start, time.perf_counter() - start))

    with ThreadPoolExecutor(work.callers) as threads:
        for done in [threads.submit(run) for _ in range(work.callers)]:
            done.result()
    return _turn(times, window, len(times), 0, resident_mb(os.getpid()))


def _turn(times: Sequence[tuple[float, float]], window: Window, asked: int, wrong: int, memory: float) -> Turn:
    """From when each request was sent and answered, in seconds from the beginning of the load."""
    shares = [
        max(0, min(received, window.end) - max(sent, window.begin)) / (received - sent) for sent, received in times
    ]
    seconds = [received - sent for sent, received in times if window.begin <= received <= window.end]
    return Turn(sum(shares) / (window.end - window.begin), seconds, asked, wrong, memory)


def count_wrong(answers: Sequence[Answer], expected: Sequence[NDArray[np.float32]], server: str) -> int:
    """Answers that are not these vectors, by the number of their request."""
    tolerance = SERVERS[server].tolerance
    return sum(not is_right(answer, expected[answer.number], tolerance) for answer in answers)


def beside(server: Server, questions: Work, large: Work, seconds: float, batch: float) -> Beside:
    """A lone question, and the same beside a client that sends large requests without pause."""

    async def run() -> tuple[list[Answer], list[Answer], list[Answer]]:
        asks = questions.requests(server.path)
        alone = await lone(server.port, asks, seconds)
        loop = http_load.closed_loops(server.port, large.requests(server.path), 1, UNDER_WAY + seconds)
        under_way = asyncio.create_task(loop)
        await asyncio.sleep(UNDER_WAY)
        return alone, await lone(server.port, asks, seconds), await under_way

    server.resume()
    alone, besides, larges = asyncio.run(run())
    server.pause()
    return Beside(
        alone=[answer.seconds for answer in alone],
        beside=[answer.seconds for answer in besides],
        large=len(larges),
        wrong=count_wrong([*alone, *besides], questions.expected, server.name)
        + count_wrong(larges, large.expected, server.name),
        batch=batch,
    )


async def lone(port: int, requests: Sequence[bytes], seconds: float) -> list[Answer]:
    """The answers to questions of one connection, each after a random pause."""
    chance = random.Random(0)
    caller = Caller(port)
    answers: list[Answer] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        await asyncio.sleep(PAUSE * chance.random())
        number = len(answers) % len(requests)
        answers.append(await caller.ask(number, requests[number]))
    caller.close()
    return answers


def batch_seconds(contender: Contender, seconds: float) -> float:
    """Median seconds of a full batch of texts of equal length, computed by each of the engine's workers again and again."""
    assert isinstance(contender, Embedry)
    loaded = contender._embedder.engine.loaded
    assert loaded is not None
    encoder = loaded.encoder
    assert isinstance(encoder, Encoder)
    rows = encoder.batch_tokens // LENGTH
    ids = np.random.default_rng(0).integers(1000, 20_000, (rows, LENGTH), dtype=np.int32)
    mask = np.ones_like(ids)
    end = time.perf_counter() + seconds

    def run() -> list[float]:
        found = []
        while (begun := time.perf_counter()) < end:
            encoder.forward(ids, mask)
            found.append(time.perf_counter() - begun)
        return found

    with ThreadPoolExecutor(encoder.workers) as workers:
        runs = [workers.submit(run) for _ in range(encoder.workers)]
        return statistics.median(taken for each in runs for taken in each.result())
