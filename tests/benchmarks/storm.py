"""A thousand connections at once: does the server answer every request, rightly or with a refusal that says when to come
again? It is a part of `make bench-server`.

    python tests/benchmarks/storm.py              2 passes of 60 seconds
    python tests/benchmarks/storm.py --quick      2 passes of 5 seconds, to check that everything runs

The first pass has the default limits. In the second the queue is so short that some must be refused; a client that is
refused waits as long as Retry-After says, and up to a second more, so that not all of them come back together. The exit
code is 1 if an answer is wrong or missing.
"""

import argparse
import asyncio
import random
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import http_load
import loads
import model_files
import numpy as np
from contenders import MODEL
from http_load import LOST, Answer, is_right
from numpy.typing import NDArray
from report import table
from results import percentile
from servers import OURS, SERVERS, Server

from embedry import resolve

SHORT_QUEUE = 5_000
"""Tokens that may wait in the second pass: those of half of the questions that arrive together."""

CALM = 64
"""Connections before and after a storm."""
CALM_SECONDS = 3.0
FIRST = 3.0
"""Seconds of a first storm: what a thousand connections need is kept for the next ones, so growth is measured from there."""
REST = 2.0
"""Seconds after a storm, in which the server closes connections and returns memory."""

TOGETHER = 2.0
"""Seconds from the beginning in which all connections ask at the same moment. Later they come by and by."""
PROMPT = 0.1
"""Seconds within which a refusal should come."""
GROWTH = 0.1
"""Of memory, which is no growth."""


@dataclass(frozen=True)
class Outcome:
    """What became of the requests of a pass."""

    name: str
    answers: list[Answer]
    """Of the storm."""
    wrong: int
    calm: tuple[float, float]
    """Median seconds of a question of 64 connections, before and after."""
    memory: tuple[float, float, float]
    """Resident MB: before any storm, before this one, and after it."""

    def of_status(self, status: int) -> list[Answer]:
        """The answers with this status."""
        return [answer for answer in self.answers if answer.status == status]


def main() -> None:
    """Both passes; prints what happened."""
    parser = argparse.ArgumentParser(description="many connections at once: every request must be answered")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each pass")
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="passes of 5 seconds")
    arguments = parser.parse_args()

    allow_files(2 * arguments.connections + 100)
    model_files.prepare()
    embedder = resolve(MODEL)
    questions = loads.collect(8)["queries"].texts
    expected = list(embedder.encode_query(questions))
    threads = int(embedder.info["threads"])
    short = ["--queue-tokens", str(SHORT_QUEUE), "--max-tokens", str(SHORT_QUEUE)]
    passes: dict[str, list[str]] = {"default limits": [], f"a queue of {SHORT_QUEUE:,} tokens": short}
    outcomes = []
    for name, options in passes.items():
        with Server.of(OURS, threads, *options) as server:
            seconds = 5.0 if arguments.quick else arguments.seconds
            outcomes.append(one_pass(name, server, questions, expected, arguments.connections, seconds))
        print(described(outcomes[-1]), flush=True)
    sys.exit(1 if any(outcome.wrong or outcome.of_status(LOST) for outcome in outcomes) else 0)


def one_pass(
    name: str,
    server: Server,
    questions: list[str],
    expected: Sequence[NDArray[np.float32]],
    connections: int,
    seconds: float,
) -> Outcome:
    """A calm load, a first storm, the one that is measured, and the calm load again."""
    requests = [http_load.request(server.path, MODEL, question) for question in questions]
    before, fresh = asyncio.run(calm(server, requests)), server.memory()
    first = asyncio.run(storm(server.port, requests, connections, FIRST))
    time.sleep(REST)
    memory_before = server.memory()
    storm_answers = asyncio.run(storm(server.port, requests, connections, seconds))
    time.sleep(REST)
    after, memory_after = asyncio.run(calm(server, requests)), server.memory()
    refusals = [answer for answer in storm_answers if answer.status == 429]
    wrong = sum(not retry_after(answer) > 0 for answer in refusals)
    others = [answer for answer in [*before, *first, *storm_answers, *after] if answer.status not in (429, LOST)]
    wrong += sum(not is_right(each, expected[each.number][None], SERVERS[OURS].tolerance) for each in others)
    wrong += sum(answer.status in (429, LOST) for answer in [*before, *after])
    times = (median_seconds(before), median_seconds(after))
    return Outcome(name, storm_answers, wrong, times, (fresh, memory_before, memory_after))


async def calm(server: Server, requests: Sequence[bytes]) -> list[Answer]:
    """The answers to a load that any server bears."""
    return await http_load.closed_loops(server.port, requests, CALM, CALM_SECONDS)


async def storm(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> list[Answer]:
    """The answers to so many connections, which are all made at once. Who is refused waits as long as it is told, and a bit."""
    chance = random.Random(0)

    def pause(answer: Answer) -> float:
        return retry_after(answer) + chance.random() if answer.status == 429 else 0.0

    return await http_load.closed_loops(port, requests, connections, seconds, pause=pause)


def retry_after(answer: Answer) -> int:
    """The seconds that a refusal asks for; 0 if it states none."""
    stated = answer.header("retry-after") or ""
    return int(stated) if stated.isdecimal() else 0


def described(outcome: Outcome) -> str:
    """The counts, and the times of both kinds of answers."""
    answered, refused = outcome.of_status(200), outcome.of_status(429)
    counts = [
        ("sent", len(outcome.answers)),
        ("answered", len(answered)),
        ("refused", len(refused)),
        ("wrong", outcome.wrong),
        ("lost", len(outcome.of_status(LOST))),
    ]
    begin = min(answer.sent for answer in outcome.answers)
    kinds = {
        "an answer": answered,
        f"a refusal in the first {TOGETHER:.0f} s": [each for each in refused if each.sent < begin + TOGETHER],
        "a refusal later": [each for each in refused if each.sent >= begin + TOGETHER],
    }
    times = [(f"{kind} ({len(found):,})", *spread(found)) for kind, found in kinds.items() if found]
    late = sum(answer.seconds > PROMPT for answer in refused)
    (before, after), (fresh, memory_before, memory_after) = outcome.calm, outcome.memory
    growth = memory_after / memory_before - 1
    others = [
        f"Refusals that took longer than {PROMPT * 1000:.0f} ms: {late:,} of {len(refused):,}.",
        f"A question of {CALM} connections: {before * 1000:.0f} ms before, {after * 1000:.0f} ms after.",
        f"Memory: {fresh:.0f} MB at first, {memory_before:.0f} MB after {FIRST:.0f} s of it, {memory_after:.0f} MB at the end: "
        f"{growth:+.0%}, {'within' if abs(growth) <= GROWTH else 'NOT WITHIN'} {GROWTH:.0%}.",
    ]
    parts = [
        f"### {outcome.name}",
        table(("requests", ""), [(name, f"{count:,}") for name, count in counts]),
        table(("", "p50", "p99", "at most"), times),
        "\n".join(others),
    ]
    return "\n\n".join(parts) + "\n"


def spread(answers: Sequence[Answer]) -> tuple[str, str, str]:
    """Milliseconds from sending: p50, p99 and the longest."""
    seconds = [answer.seconds for answer in answers]
    p50, p99, longest = (f"{1000 * percentile(seconds, percent):,.1f} ms" for percent in (50, 99, 100))
    return p50, p99, longest


def median_seconds(answers: Sequence[Answer]) -> float:
    """Of those that were answered."""
    return statistics.median(answer.seconds for answer in answers)


def allow_files(count: int) -> None:
    """Lets this process have so many open files, or as many as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < count:
        sys.exit(f"{count} open files are needed, and the system allows {hard}; raise it with `ulimit -Hn`")


if __name__ == "__main__":
    main()
